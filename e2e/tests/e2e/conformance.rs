//! The standard conformance program against the façade, as it stands in the cluster: between both is what csi-provisioner
//! does. Volumes are asked for by claims, on a node; nothing else is changed, and nothing is answered here.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dotmesh_crds::names;
use dotmesh_csi_proto::csi::controller_client::ControllerClient;
use dotmesh_csi_proto::csi::controller_server::{Controller, ControllerServer};
use dotmesh_csi_proto::csi::identity_client::IdentityClient;
use dotmesh_csi_proto::csi::identity_server::{Identity, IdentityServer};
use dotmesh_csi_proto::csi::node_client::NodeClient;
use dotmesh_csi_proto::csi::node_server::{Node as NodeService, NodeServer};
use dotmesh_csi_proto::csi::volume_content_source::Type as ContentSource;
use dotmesh_csi_proto::csi::*;
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{CLASS, plain_claim};
use dotmesh_e2e::scenario::{Scenario, scenario};
use dotmesh_e2e::wait::{Look, until};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::await_condition;
use serde_json::json;
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};

/// What is said of the conformance program, and held to by its run.
const CONFORMANCE: &str = include_str!("../../../docs/conformance.md");

/// The kubelet's folder on the node.
const KUBELET: &str = "/var/lib/kubelet";

/// Between two calls for one volume.
const AGAIN: Duration = Duration::from_millis(500);

/// Stands where csi-provisioner does.
#[derive(Clone)]
struct Provisioner {
    controller: ControllerClient<Channel>,
    identity: IdentityClient<Channel>,
    /// csi-node's, which the program asks before it tidies up.
    on_node: NodeClient<Channel>,
    claims: Api<PersistentVolumeClaim>,
    volumes: Api<PersistentVolume>,
    namespace: String,
    node: String,
}

/// Whether a volume was made for a claim.
fn is_its(claim: &PersistentVolumeClaim, volume_id: &str) -> bool {
    claim.uid().is_some_and(|uid| volume_id.ends_with(&uid))
}

fn is_bound(claim: Option<&PersistentVolumeClaim>) -> bool {
    let status = claim.and_then(|claim| claim.status.as_ref());
    status.and_then(|status| status.phase.as_deref()) == Some("Bound")
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::internal(format!("the stand-in for csi-provisioner: {error}"))
}

impl Provisioner {
    /// The uid of the claim of this name, which is made when it is not there, to be a copy of that one.
    async fn claim(&self, name: &str, copy_of: Option<&str>) -> Result<String> {
        let made = match self.claims.get_opt(name).await? {
            Some(claim) => claim,
            None => {
                let mut claim = plain_claim(name, "64Mi");
                if let Some(source) = copy_of {
                    claim["spec"]["dataSource"] = json!({"kind": "PersistentVolumeClaim", "name": source});
                }
                let claim = serde_json::from_value(claim)?;
                self.claims.create(&PostParams::default(), &claim).await?
            }
        };
        Ok(made.uid().unwrap_or_default())
    }

    /// The claim that a volume was made for. That is bound now, as Kubernetes has it before anything is made from it.
    async fn bound(&self, volume_id: &str) -> Result<Option<String>> {
        let all = self.claims.list(&ListParams::default()).await?.items;
        let mut its = all.into_iter().filter(|claim| is_its(claim, volume_id));
        let Some(claim) = its.next() else {
            return Ok(None);
        };
        let (name, uid) = (claim.name_any(), claim.uid().unwrap_or_default());
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": names::volume_object(&uid)},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "64Mi"}, "storageClassName": CLASS,
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": self.namespace, "name": name, "uid": uid,
                },
                "csi": {"driver": names::DRIVER, "volumeHandle": volume_id},
            },
        });
        match self
            .volumes
            .create(&PostParams::default(), &serde_json::from_value(volume)?)
            .await
        {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            made => drop(made?),
        }
        let bound = await_condition(self.claims.clone(), &name, is_bound);
        tokio::time::timeout(PATIENCE, bound)
            .await
            .context("the claim is not bound")??;
        Ok(Some(name))
    }

    /// As csi-provisioner asks: by the claim's uid, with its name, and where its pod is.
    async fn asked(&self, mut request: CreateVolumeRequest) -> Result<CreateVolumeRequest, Status> {
        if !request.name.is_empty() {
            let name = request.name.to_lowercase();
            let source = request
                .volume_content_source
                .as_ref()
                .and_then(|source| source.r#type.as_ref());
            let source = match source {
                Some(ContentSource::Volume(volume)) => {
                    let claim = self
                        .bound(&volume.volume_id)
                        .await
                        .map_err(|error| failed(format!("{error:#}")))?;
                    Some(claim.unwrap_or_else(|| "not-there".to_owned()))
                }
                Some(ContentSource::Snapshot(_)) | None => None,
            };
            let uid = self.claim(&name, source.as_deref()).await;
            let uid = uid.map_err(|error| failed(format!("{error:#}")))?;
            request.name = names::volume_object(&uid);
            let said = [("namespace", self.namespace.clone()), ("name", name)];
            let said = said.map(|(key, value)| (format!("csi.storage.k8s.io/pvc/{key}"), value));
            request.parameters.extend(said);
        }
        let topology = Topology {
            segments: [(names::TOPOLOGY_NODE.to_owned(), self.node.clone())].into(),
        };
        request.accessibility_requirements = Some(TopologyRequirement {
            requisite: vec![topology.clone()],
            preferred: vec![topology],
        });
        Ok(request)
    }

    /// A volume is deleted when its claim is gone.
    async fn forget(&self, volume_id: &str) -> Result<()> {
        let all = self.claims.list(&ListParams::default()).await?;
        for claim in all.items.iter().filter(|claim| is_its(claim, volume_id)) {
            let name = claim.name_any();
            self.claims.delete(&name, &DeleteParams::default()).await?;
            let uid = claim.uid().unwrap_or_default();
            if let Some(volume) = self.volumes.get_opt(&names::volume_object(&uid)).await? {
                let name = volume.name_any();
                drop(self.volumes.delete(&name, &DeleteParams::default()).await);
            }
            let gone = await_condition(self.claims.clone(), &name, is_deleted(&uid));
            tokio::time::timeout(PATIENCE, gone)
                .await
                .context("the claim stays")??;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Identity for Provisioner {
    async fn get_plugin_info(
        &self,
        request: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        self.identity.clone().get_plugin_info(request.into_inner()).await
    }

    async fn get_plugin_capabilities(
        &self,
        request: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        self.identity
            .clone()
            .get_plugin_capabilities(request.into_inner())
            .await
    }

    async fn probe(&self, request: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        self.identity.clone().probe(request.into_inner()).await
    }
}

#[tonic::async_trait]
impl Controller for Provisioner {
    async fn controller_get_capabilities(
        &self,
        request: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        self.controller
            .clone()
            .controller_get_capabilities(request.into_inner())
            .await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        self.controller
            .clone()
            .controller_expand_volume(request.into_inner())
            .await
    }

    async fn controller_modify_volume(
        &self,
        request: Request<ControllerModifyVolumeRequest>,
    ) -> Result<Response<ControllerModifyVolumeResponse>, Status> {
        self.controller
            .clone()
            .controller_modify_volume(request.into_inner())
            .await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        self.controller
            .clone()
            .validate_volume_capabilities(request.into_inner())
            .await
    }

    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let request = self.asked(request.into_inner()).await?;
        let until = Instant::now() + PATIENCE;
        // csi-provisioner asks again what goes on.
        loop {
            match self.controller.clone().create_volume(request.clone()).await {
                Err(status) if status.code() == Code::Aborted && Instant::now() < until => {
                    tokio::time::sleep(AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let request = request.into_inner();
        self.forget(&request.volume_id)
            .await
            .map_err(|error| failed(format!("{error:#}")))?;
        self.controller.clone().delete_volume(request).await
    }
}

#[tonic::async_trait]
impl NodeService for Provisioner {
    async fn node_get_capabilities(
        &self,
        request: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        self.on_node.clone().node_get_capabilities(request.into_inner()).await
    }

    async fn node_get_info(
        &self,
        request: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        self.on_node.clone().node_get_info(request.into_inner()).await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        self.on_node.clone().node_unpublish_volume(request.into_inner()).await
    }
}

/// Where the façade's socket is on the node that a pod of the operator runs on.
async fn facade(s: &Scenario) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(s.cluster.client.clone(), chart::NAMESPACE);
    let operators = ListParams::default().labels("app.kubernetes.io/component=operator");
    let pod = pods.list(&operators).await?.items.into_iter().next();
    let uid = pod.and_then(|pod| pod.uid()).context("the operator has no pod")?;
    Ok(format!(
        "{KUBELET}/pods/{uid}/volumes/kubernetes.io~empty-dir/csi/csi.sock"
    ))
}

/// Leads from a socket here to one of the node, while it lives.
async fn lead(s: &Scenario, socket: &Path, there: &str) -> Result<(Child, Channel)> {
    let forward = format!("{}:{there}", socket.display());
    let words = s.nodes.prefix("")?;
    let (program, words) = words.split_first().context("DOTMESH_TEST_SSH is empty")?;
    let child = Command::new(program)
        .args(words)
        .args(["-N", "-o", "ExitOnForwardFailure=yes", "-L", &forward])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    until(&format!("the way to {there}"), PATIENCE, async || {
        Ok(Look::when(socket.exists(), socket.display().to_string()))
    })
    .await?;
    let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))?
        .connect()
        .await?;
    Ok((child, channel))
}

#[tokio::test]
async fn the_conformance_program_finds_nothing_about_the_facade() {
    scenario("conformance", async |s| {
        let folder = std::env::temp_dir().join(format!("dotmesh-conformance-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let result = conformance(s, &folder).await;
        std::fs::remove_dir_all(&folder)?;
        result
    })
    .await;
}

async fn conformance(s: &Scenario, folder: &Path) -> Result<()> {
    let ours = folder.join("csi.sock");
    let (_way, channel) = lead(s, &folder.join("facade.sock"), &facade(s).await?).await?;
    let plugin = format!("{KUBELET}/plugins/{}/csi.sock", names::DRIVER);
    let (_other_way, on_node) = lead(s, &folder.join("node.sock"), &plugin).await?;
    let nodes: Api<Node> = Api::all(s.cluster.client.clone());
    let node = nodes.list(&ListParams::default()).await?.items.into_iter().next();
    let provisioner = Provisioner {
        controller: ControllerClient::new(channel.clone()),
        identity: IdentityClient::new(channel),
        on_node: NodeClient::new(on_node),
        claims: s.cluster.api(),
        volumes: Api::all(s.cluster.client.clone()),
        namespace: s.cluster.namespace.clone(),
        node: node.context("there is no node")?.name_any(),
    };
    let listener = UnixListenerStream::new(UnixListener::bind(&ours)?);
    let server = Server::builder()
        .add_service(IdentityServer::new(provisioner.clone()))
        .add_service(NodeServer::new(provisioner.clone()))
        .add_service(ControllerServer::new(provisioner));
    let serving = tokio::spawn(server.serve_with_incoming(listener));
    let (report, attributes) = (folder.join("report.json"), folder.join("attributes.yaml"));
    std::fs::write(&attributes, "compression: lz4\n")?;
    let program = std::env::var("DOTMESH_CSI_SANITY").context("DOTMESH_CSI_SANITY names the conformance program")?;
    let running = Command::new(program)
        .arg(format!("--csi.endpoint=unix://{}", ours.display()))
        .arg("--csi.testvolumesize=67108864")
        .arg("--csi.testvolumeexpandsize=134217728")
        .arg(format!("--csi.testvolumemutableparameters={}", attributes.display()))
        // Folders of the kubelet, in which nothing is ever mounted.
        .arg(format!("--csi.mountdir={KUBELET}/pods/conformance/mount"))
        .arg(format!("--csi.stagingdir={KUBELET}/pods/conformance/staging"))
        .args([
            "--csi.createmountpathcmd=/bin/echo",
            "--csi.removemountpathcmd=/bin/true",
        ])
        .args([
            "--csi.createstagingpathcmd=/bin/echo",
            "--csi.removestagingpathcmd=/bin/true",
        ])
        // csi-node answers the kubelet, and has a run of its own.
        .arg("--ginkgo.focus=Identity Service|\\[Controller Server\\]|GroupController Service")
        .arg("--ginkgo.no-color")
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .kill_on_drop(true)
        .output();
    let output = running.await?;
    serving.abort();
    ensure!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    compare_with_document(&report)
}

/// A test of the conformance program, as its report has it.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    leaf_node_type: String,
    state: String,
    /// Absent for those that the focus leaves out.
    failure: Option<Why>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Why {
    message: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Vec<Spec>,
}

/// The document says how many tests pass, and why each of the others does not apply: no more and no less.
fn compare_with_document(report: &Path) -> Result<()> {
    let suites: Vec<Suite> = serde_json::from_slice(&std::fs::read(report)?)?;
    let specs = suites.into_iter().flat_map(|suite| suite.spec_reports);
    let specs: Vec<Spec> = specs.filter(|spec| spec.leaf_node_type == "It").collect();
    let passed = specs.iter().filter(|spec| spec.state == "passed").count();
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for spec in specs.iter().filter(|spec| spec.state == "skipped") {
        if let Some(why) = &spec.failure {
            *skipped.entry(why.message.as_str()).or_default() += 1;
        }
    }
    let all: usize = skipped.values().sum();
    let said = format!("Against the facade: {passed} pass, {all} do not apply.");
    let (_, section) = CONFORMANCE
        .split_once("## The facade")
        .context("docs/conformance.md has no \"## The facade\"")?;
    let rows = skipped.iter().map(|(why, tests)| format!("| {why} | {tests} | "));
    let unlisted: Vec<String> = rows.filter(|row| !section.contains(row)).collect();
    ensure!(
        section.contains(&said) && unlisted.is_empty(),
        "docs/conformance.md is to say: {said} And why these do not apply: {unlisted:#?}"
    );
    Ok(())
}
