//! The kubelet's plugin registration (`pluginregistration.Registration`, v1): the kubelet finds our socket in its
//! `plugins_registry`, asks who we are, connects to the CSI socket, and tells how that went.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dotmesh_csi_proto::registration::registration_server::{Registration, RegistrationServer};
use dotmesh_csi_proto::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use tokio::sync::Notify;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::csi::DRIVER;
use super::socket;

/// How long after a refused registration the socket is offered anew.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Plugin {
    endpoint: String,
    refused: Arc<Notify>,
}

#[tonic::async_trait]
impl Registration for Plugin {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".into(),
            name: DRIVER.into(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["1.0.0".into()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus {
            plugin_registered,
            error,
        } = request.into_inner();
        if plugin_registered {
            tracing::info!("the kubelet has registered the driver");
        } else {
            tracing::warn!(error, "the kubelet refused the driver");
            self.refused.notify_one();
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

/// Where the kubelet looks for us. It dials with the percent-encoded path as `:authority` (grpc-go escapes `/`, not `@`),
/// and HTTP servers in Rust take a percent sign only in the part before an `@`: so the file's name has one.
#[must_use]
pub fn socket_path(registry: &Path) -> PathBuf {
    registry.join(format!("{DRIVER}@reg.sock"))
}

/// Offers the driver to the kubelet for ever; anew when it was refused, and when somebody removed the socket. The CSI socket must be ready before.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve(registry: &Path, csi_socket: &Path) -> io::Result<()> {
    let path = socket_path(registry);
    loop {
        let (listener, bound) = socket::bind(&path)?;
        let refused = Arc::new(Notify::new());
        let plugin = Plugin {
            endpoint: csi_socket.to_string_lossy().into_owned(),
            refused: Arc::clone(&refused),
        };
        let again = async move {
            tokio::select! {
                () = refused.notified() => tokio::time::sleep(RETRY).await,
                error = bound.lost() => tracing::warn!(%error, "the kubelet cannot reach the registration's socket"),
            }
        };
        Server::builder()
            .add_service(RegistrationServer::new(plugin))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), again)
            .await
            .map_err(io::Error::other)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use dotmesh_csi_proto::registration::registration_client::RegistrationClient;
    use tonic::transport::Endpoint;

    /// Asks as grpc-go does: the socket's path, percent-encoded, is the request's `:authority`.
    async fn ask(socket: &Path, authority: &str) -> PluginInfo {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let channel = endpoint
            .origin(format!("http://{authority}").parse().unwrap())
            .connect()
            .await
            .unwrap();
        let answer = RegistrationClient::new(channel).get_info(InfoRequest {}).await;
        answer.unwrap().into_inner()
    }

    #[tokio::test]
    async fn the_kubelet_is_answered_although_it_names_the_path_as_authority() {
        let folder = tempfile::tempdir().unwrap();
        let socket = socket_path(folder.path());
        let encoded = format!("%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2F{DRIVER}@reg.sock");
        let csi = folder.path().join("csi.sock");
        tokio::select! {
            biased;
            ended = serve(folder.path(), &csi) => panic!("{ended:?}"),
            info = ask(&socket, &encoded) => {
                assert_eq!((info.name.as_str(), info.r#type.as_str()), (DRIVER, "CSIPlugin"));
                assert_eq!(info.endpoint, csi.to_string_lossy());
            }
        }
    }
}
