use super::*;

#[test]
fn what_the_cluster_made_is_left_out() {
    let live = json!({
        "apiVersion": "v1", "kind": "Service", "status": {"loadBalancer": {}},
        "metadata": {"name": "web", "namespace": "a", "uid": "1", "managedFields": [],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x", "team": "a"}},
        "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "type": "ClusterIP", "sessionAffinity": "None",
            "selector": {"protocol": "TCP"}, "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}]},
    });
    assert_eq!(
        manifest(live),
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "a", "annotations": {"team": "a"}},
            "spec": {"selector": {"protocol": "TCP"}, "ports": [{"port": 80}]}})
    );
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"scheme": "HTTP"}});
    assert_eq!(manifest(map.clone()), map);
}

/// An object with this spec and these entries of field managers.
fn object(kind: &str, version: &str, spec: Value, managers: Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "spec": spec,
        "metadata": {"name": "n", "managedFields": managers}})
}

fn managed(manager: &str, spec: Value) -> Value {
    json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": spec}})
}

#[test]
fn what_has_another_meaning_than_the_default_stays() {
    let pod = |container: Value, more: Value| {
        let mut spec = json!({"containers": [container]});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec
    };
    for (what, kind, version, spec) in [
        (
            "a sidecar",
            "Pod",
            "v1",
            pod(
                json!({"name": "a"}),
                json!({"initContainers": [{"name": "s", "restartPolicy": "Always"}]}),
            ),
        ),
        (
            "a probe's own grace period",
            "Pod",
            "v1",
            pod(
                json!({"name": "a", "livenessProbe": {"terminationGracePeriodSeconds": 30}}),
                json!({"terminationGracePeriodSeconds": 5}),
            ),
        ),
        (
            "attributes of a driver",
            "Pod",
            "v1",
            pod(
                json!({"name": "a"}),
                json!({"volumes": [{"name": "v", "csi": {"driver": "d", "volumeAttributes": {"protocol": "TCP", "scheme": "HTTP"}}}]}),
            ),
        ),
        (
            "a Job's own selector",
            "Job",
            "batch/v1",
            json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"restartPolicy": "Never"}}}),
        ),
        (
            "a headless Service",
            "Service",
            "v1",
            json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        ),
        (
            "a Service of another group",
            "Service",
            "serving.knative.dev/v1",
            json!({"template": {"spec": {"serviceAccount": "x", "finalizers": ["a"], "clusterIP": "b", "restartPolicy": "Always"}}}),
        ),
    ] {
        let live = object(kind, version, spec.clone(), json!([]));
        assert_eq!(manifest(live)["spec"], spec, "{what}");
    }
}

#[test]
fn what_is_allocated_stays_where_a_person_declared_it() {
    let port = |protocol: &str| format!("k:{{\"port\":80,\"protocol\":\"{protocol}\"}}");
    let spec = json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilyPolicy": "PreferDualStack", "type": "NodePort",
        "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 80, "protocol": "UDP", "nodePort": 31234}]});
    let theirs = managed(
        "kubectl-create",
        json!({"f:ipFamilyPolicy": {}, "f:ports": {
        port("TCP"): {"f:nodePort": {}}, port("UDP"): {"f:port": {}}}}),
    );
    let live = object("Service", "v1", spec, json!([theirs]));
    assert_eq!(
        manifest(live)["spec"],
        json!({"ipFamilyPolicy": "PreferDualStack", "type": "NodePort",
        "ports": [{"port": 80, "nodePort": 30080}, {"port": 80, "protocol": "UDP"}]})
    );
    for (manager, expected) in [
        ("kubectl", json!("pv-1")),
        ("kube-controller-manager", Value::Null),
    ] {
        let bound = managed(manager, json!({"f:volumeName": {}}));
        let claim = object(
            "PersistentVolumeClaim",
            "v1",
            json!({"volumeName": "pv-1", "accessModes": []}),
            json!([bound]),
        );
        assert_eq!(manifest(claim)["spec"]["volumeName"], expected, "{manager}");
    }
}

#[test]
fn what_controllers_add_to_jobs_and_pods_is_left_out() {
    let labels = json!({"controller-uid": "1", "batch.kubernetes.io/job-name": "j", "job-name": "j", "app": "a"});
    let live = object(
        "Job",
        "batch/v1",
        json!({
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "1"}}, "suspend": false, "backoffLimit": 6,
        "template": {"metadata": {"creationTimestamp": null, "labels": labels}, "spec": {"restartPolicy": "Never"}}}),
        json!([]),
    );
    assert_eq!(
        manifest(live)["spec"],
        json!({"template": {"metadata": {"labels": {"app": "a"}}, "spec": {"restartPolicy": "Never"}}})
    );
    let live = object(
        "Pod",
        "v1",
        json!({
        "nodeName": "n1", "serviceAccount": "x", "serviceAccountName": "x", "priority": 0,
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "operator": "Exists", "tolerationSeconds": 300}],
        "volumes": [{"name": "kube-api-access-abc", "projected": {}}],
        "containers": [{"name": "a", "resources": {}, "volumeMounts": [{"name": "kube-api-access-abc", "mountPath": "/x"}],
            "readinessProbe": {"httpGet": {"port": 80, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1}}]}),
        json!([]),
    );
    assert_eq!(
        manifest(live)["spec"],
        json!({"serviceAccountName": "x",
        "containers": [{"name": "a", "readinessProbe": {"httpGet": {"port": 80}}}]})
    );
}

#[test]
fn what_controllers_add_to_an_account_is_left_out() {
    let account = |more: Value| {
        let mut account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app"}});
        let fields = account.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        account
    };
    let live = json!({
        "secrets": [{}, {"name": "app-token-x7k2p"}, {"name": "app-dockercfg-9z"}, {"name": "mine"}],
        "imagePullSecrets": [{"name": "app-dockercfg-9z"}],
    });
    let kept = json!({"secrets": [{"name": "mine"}]});
    assert_eq!(manifest(account(live)), account(kept));
    let bare = json!({"secrets": [{}], "imagePullSecrets": [{"name": "registry"}]});
    let kept = json!({"imagePullSecrets": [{"name": "registry"}]});
    assert_eq!(manifest(account(bare)), account(kept));
}
