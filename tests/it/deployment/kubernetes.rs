//! The manifests and the chart.

use doorward_tests::process::{prepared, python};
use serde_json::Value;

use super::{answer, ask, check, read};

/// Ways to use the chart: its own values, and the example's.
const USES: [&[&str]; 2] = [&[], &["--values", "helm/sidecar.values.yaml"]];

/// The objects of a manifest, which are what Kubernetes takes.
#[track_caller]
fn objects(manifest: &str) -> Vec<Value> {
    let said = python(include_str!("../../deploy/validate.py"), &[], manifest.as_bytes());
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["problems"], serde_json::json!([]), "{manifest}");
    said["objects"].as_array().unwrap().clone()
}

fn render(values: &[&str]) -> String {
    let mut arguments = vec!["template", "gate", "helm/doorward", "--namespace", "doorward"];
    arguments.extend(["--kube-version", "1.34.0"]);
    arguments.extend(values);
    answer(&prepared("DOORWARD_TEST_HELM"), &arguments, "")
}

/// Every set of objects with the configuration that belongs to it.
fn deployments() -> Vec<(Vec<Value>, String)> {
    let plain = ["ingress", "sidecar"].map(|name| {
        let manifest = read(&format!("kubernetes/{name}.yaml"));
        (objects(&manifest), read(&format!("kubernetes/{name}.toml")))
    });
    let rendered = USES.map(|values| {
        let objects = objects(&render(values));
        let map = of_kind(&objects, &["ConfigMap"]);
        let text = map["data"]["doorward.toml"].as_str().unwrap().to_owned();
        (objects, text)
    });
    plain.into_iter().chain(rendered).collect()
}

fn of_kind<'a>(objects: &'a [Value], kinds: &[&str]) -> &'a Value {
    let found = objects.iter().find(|object| kinds.iter().any(|kind| object["kind"] == *kind));
    found.unwrap_or_else(|| panic!("there is no {kinds:?}"))
}

/// What a configuration says, as JSON.
fn parsed(configuration: &str) -> Value {
    let program =
        "import json, sys, tomllib; json.dump(tomllib.load(sys.stdin.buffer), sys.stdout)";
    serde_json::from_str(&python(program, &[], configuration.as_bytes())).unwrap()
}

#[test]
fn every_manifest_is_valid_and_every_configuration_in_it() {
    for (objects, configuration) in deployments() {
        check(&configuration);
        for kind in ["Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"] {
            of_kind(&objects, &[kind]);
        }
    }
    answer(&prepared("DOORWARD_TEST_HELM"), &["lint", "--strict", "helm/doorward"], "");
}

#[test]
fn p05_no_container_is_root_or_can_write_where_it_should_not() {
    for (objects, _) in deployments() {
        let pod = &of_kind(&objects, &["Deployment", "StatefulSet"])["spec"]["template"]["spec"];
        let all = &pod["securityContext"];
        assert_eq!(all["runAsNonRoot"], true);
        assert_eq!(all["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
        let initial = pod["initContainers"].as_array().into_iter().flatten();
        for container in pod["containers"].as_array().unwrap().iter().chain(initial) {
            let own = &container["securityContext"];
            assert_eq!(own["readOnlyRootFilesystem"], true, "{container}");
            assert_eq!(own["allowPrivilegeEscalation"], false, "{container}");
            assert_eq!(own["capabilities"]["drop"], serde_json::json!(["ALL"]), "{container}");
        }
        for volume in pod["volumes"].as_array().unwrap() {
            // 0440, or the gate would refuse the key: root's, and the group's to read.
            let mode = volume["secret"].get("defaultMode");
            assert!(volume.get("secret").is_none() || mode == Some(&0o440.into()), "{volume}");
        }
    }
}

#[test]
fn probes_ports_and_times_are_those_of_the_configuration() {
    for (objects, configuration) in deployments() {
        let configuration = parsed(&configuration);
        let pod = &of_kind(&objects, &["Deployment", "StatefulSet"])["spec"]["template"]["spec"];
        let gate = &pod["containers"][0];
        let port = |address: &Value| -> u64 {
            address.as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
        };
        let ports: Vec<_> =
            gate["ports"].as_array().unwrap().iter().map(|port| &port["containerPort"]).collect();
        let said =
            [&configuration["listener"][0]["address"], &configuration["operations"]["address"]];
        assert_eq!(ports, said.map(|address| Value::from(port(address))).each_ref());
        for (probe, path) in
            [("startup", "/startupz"), ("readiness", "/readyz"), ("liveness", "/livez")]
        {
            let asked = &gate[format!("{probe}Probe")]["httpGet"];
            assert_eq!((&asked["path"], &asked["port"]), (&path.into(), &"operations".into()));
        }
        let policy = of_kind(&objects, &["NetworkPolicy"])["spec"]["ingress"].as_array().unwrap();
        let open: Vec<_> = policy.iter().map(|rule| &rule["ports"][0]["port"]).collect();
        for port in &ports {
            assert!(open.contains(port), "nobody may reach {port}");
        }
        let grace = configuration["shutdown_grace"].as_str().unwrap().trim_end_matches('s');
        let goes_on = gate["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
        let killed = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(goes_on + grace.parse::<u64>().unwrap() + 10 <= killed, "killed while it drains");
        let folder = std::path::Path::new(configuration["store"]["path"].as_str().unwrap());
        let mounted = gate["volumeMounts"].as_array().unwrap().iter();
        let state = mounted.filter(|mount| mount.get("readOnly").is_none());
        let state: Vec<_> = state.map(|mount| mount["mountPath"].as_str().unwrap()).collect();
        // A volume itself can be everybody's, and the gate would refuse it: one folder further down.
        assert_eq!(folder.parent().unwrap().parent(), Some(state[0].as_ref()));
    }
}

#[test]
fn the_chart_says_what_cannot_be() {
    for (values, said) in [
        (&["--set", "replicas=2", "--set", "persistence.size=1Gi"][..], "one gate whose store"),
        (&["--set", "vaultSecret="], "one vault"),
        (&["--set", "ports.public=9464"], "are the same"),
        (&["--set", "replcas=2"], "not allowed"),
        (&["--set", "service.type=Magic"], "service/type"),
    ] {
        let mut arguments = vec!["template", "gate", "helm/doorward", "--kube-version", "1.34.0"];
        arguments.extend(values);
        let output = ask(&prepared("DOORWARD_TEST_HELM"), &arguments, "");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{values:?}: {error}");
    }
}
