//! What the chart's NetworkPolicies let through, judged as Kubernetes defines them: no network is asked.

use dotmesh_crds::names::LABEL_IMPORT;
use dotmesh_e2e::chart;
use serde_json::{Value, json};

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Operator,
    CsiNode,
    /// The pod of `helm test`.
    Check,
    /// A pod that fills a volume, in its Dot's namespace.
    Importer,
    /// A pod in another namespace.
    OtherPod,
    /// No pod at all, like the Kubernetes API.
    Outside,
}

use End::{Check, CsiNode, Importer, Operator, OtherPod, Outside};

const ENDS: [End; 6] = [Operator, CsiNode, Check, Importer, OtherPod, Outside];

/// What the chart makes.
struct Made(Vec<Value>);

impl Made {
    async fn with(values: &Value) -> Self {
        let text = chart::template_with(values).unwrap().output().await.unwrap();
        Self(chart::objects(&text).unwrap())
    }

    fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["kind"] == kind).collect()
    }

    /// The pod, as far as it is one of ours.
    fn pod(&self, end: End) -> Option<&Value> {
        let (kind, of) = match end {
            Operator => ("Deployment", "/spec/template"),
            CsiNode => ("DaemonSet", "/spec/template"),
            Check => ("Pod", ""),
            Importer | OtherPod | Outside => return None,
        };
        self.of_kind(kind).first()?.pointer(of)
    }

    fn connects(&self, from: End, to: End, port: u64) -> bool {
        self.allows("egress", from, to, port) && self.allows("ingress", to, from, port)
    }

    /// Whether the policies of one end let the other one be talked to (egress) or talk (ingress).
    fn allows(&self, direction: &str, end: End, other: End, port: u64) -> bool {
        let Some(pod) = self.pod(end) else { return true };
        let named = if direction == "egress" { "Egress" } else { "Ingress" };
        let applies = |policy: &&&Value| {
            let types = policy["spec"]["policyTypes"].as_array().unwrap();
            types.contains(&json!(named)) && selects(&policy["spec"]["podSelector"], pod)
        };
        let policies = self.of_kind("NetworkPolicy");
        let mut applying = policies.iter().filter(applies).peekable();
        if applying.peek().is_none() {
            return true;
        }
        let mut rules = applying.flat_map(|policy| policy["spec"][direction].as_array().into_iter().flatten());
        rules.any(|rule| self.rule_allows(rule, other, port))
    }

    fn rule_allows(&self, rule: &Value, other: End, port: u64) -> bool {
        let ports = rule["ports"].as_array().unwrap();
        let peers = rule["to"].as_array().or(rule["from"].as_array());
        let is_import = |peer: &Value| peer["podSelector"]["matchExpressions"][0]["key"] == LABEL_IMPORT;
        let is_meant = |peer: &Value| match peer.as_object().unwrap().iter().next().unwrap() {
            _ if is_import(peer) => other == Importer,
            (kind, selector) if kind == "podSelector" => self.pod(other).is_some_and(|pod| selects(selector, pod)),
            (kind, selector) if kind == "namespaceSelector" && *selector == json!({}) => other != Outside,
            (kind, _) if kind == "ipBlock" => other == Outside,
            (kind, selector) => panic!("this test does not know {kind} {selector}"),
        };
        ports.iter().any(|entry| entry["port"] == port) && peers.is_none_or(|peers| peers.iter().any(is_meant))
    }
}

/// Whether a label selector means the pod.
fn selects(selector: &Value, pod: &Value) -> bool {
    let labels = &pod["metadata"]["labels"];
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let among = selector["matchExpressions"].as_array().into_iter().flatten();
    equal.into_iter().all(|(key, value)| labels[key] == *value)
        && among.into_iter().all(|expression| {
            assert_eq!(expression["operator"], "In", "this test knows no other");
            let key = expression["key"].as_str().unwrap();
            expression["values"].as_array().unwrap().contains(&labels[key])
        })
}

/// The ports that a pod's containers listen on.
fn listening(pod: &Value) -> Vec<u64> {
    let containers = pod["spec"]["containers"].as_array().unwrap();
    let ports = containers
        .iter()
        .flat_map(|c| c["ports"].as_array().into_iter().flatten());
    ports.map(|port| port["containerPort"].as_u64().unwrap()).collect()
}

const ENROLL: u64 = 9443;
const NODE: u64 = 9808;
const METRICS: u64 = 8080;
const PROGRESS: u64 = 9810;

#[tokio::test]
async fn the_network_policies_let_through_what_is_needed_and_nothing_else() {
    let made = Made::with(&json!({"networkPolicy": {"enabled": true}})).await;
    let mut needed = vec![(CsiNode, Operator, ENROLL), (Operator, CsiNode, NODE)];
    needed.push((Operator, Importer, PROGRESS));
    // Metrics may be read by any pod; ours have no way out to them.
    for pod in [OtherPod, Importer] {
        needed.extend([(pod, Operator, METRICS), (pod, CsiNode, METRICS)]);
    }
    for port in [443, 6443] {
        // The rule names ports only: where the API is, the chart does not know.
        for to in [Importer, OtherPod, Outside] {
            needed.extend([(Operator, to, port), (Check, to, port)]);
        }
    }
    let mut wrong = Vec::new();
    for from in ENDS {
        for to in ENDS {
            for port in [53, 80, 443, 2049, 6443, METRICS, ENROLL, NODE, PROGRESS, 10250] {
                let not_ours = made.pod(from).is_none() && made.pod(to).is_none();
                // The pod of `helm test` listens on nothing, so nothing keeps others from it.
                if not_ours || to == Check {
                    continue;
                }
                let expected = needed.contains(&(from, to, port));
                if made.connects(from, to, port) != expected {
                    wrong.push(format!("{from:?} → {to:?}:{port} should be {expected}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn every_port_that_a_pod_listens_on_can_be_reached() {
    let made = Made::with(&json!({"networkPolicy": {"enabled": true}})).await;
    for (end, expected) in [(Operator, vec![ENROLL, METRICS]), (CsiNode, vec![NODE, METRICS])] {
        let ports = listening(made.pod(end).unwrap());
        assert_eq!(ports, expected);
        for port in ports {
            assert!(
                ENDS.iter().any(|from| made.connects(*from, end, port)),
                "{end:?}:{port}"
            );
        }
    }
    assert_eq!(listening(made.pod(Check).unwrap()), Vec::<u64>::new());
}

#[tokio::test]
async fn the_api_and_the_readers_of_metrics_can_be_narrowed() {
    let narrow = json!({"networkPolicy": {
        "enabled": true,
        "metricsFrom": [],
        "apiServer": {"cidrs": ["192.0.2.1/32"], "ports": [8443]},
    }});
    let made = Made::with(&narrow).await;
    for to in [Operator, CsiNode] {
        assert!(ENDS.iter().all(|from| !made.connects(*from, to, METRICS)), "{to:?}");
    }
    assert!(made.connects(Operator, Outside, 8443));
    assert!(!made.connects(Operator, Outside, 443));
    assert!(!made.connects(Operator, OtherPod, 8443));
    assert!(made.connects(CsiNode, Operator, ENROLL) && made.connects(Operator, CsiNode, NODE));
}

#[tokio::test]
async fn there_are_no_policies_unless_asked_for() {
    assert!(Made::with(&json!({})).await.of_kind("NetworkPolicy").is_empty());
}

#[tokio::test]
async fn several_operators_and_nobody_else_have_a_disruption_budget() {
    let one = Made::with(&json!({"operator": {"replicas": 1}})).await;
    assert!(
        one.of_kind("PodDisruptionBudget").is_empty(),
        "it would keep the node from being drained"
    );
    let two = Made::with(&json!({"operator": {"replicas": 2}})).await;
    let budgets = two.of_kind("PodDisruptionBudget");
    let [budget] = budgets.as_slice() else {
        panic!("one budget: {budgets:?}")
    };
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    for (end, expected) in [(Operator, true), (CsiNode, false), (Check, false)] {
        assert_eq!(
            selects(&budget["spec"]["selector"], two.pod(end).unwrap()),
            expected,
            "{end:?}"
        );
    }
}
