use serde_json::json;

use super::*;

/// `Kind.group`, a live object in YAML, and the first letter of its health with the message.
fn check(kind: &str, yaml: &str, wanted: &str) {
    let (name, group) = kind.split_once('.').unwrap_or((kind, ""));
    let object = crate::manifest::documents(yaml.as_bytes())
        .unwrap()
        .pop()
        .map_or(Value::Null, |document| document.value);
    let found = match assess(&GroupKind::new(group, name), &object) {
        Health::Current => "current".to_owned(),
        Health::InProgress(message) => format!("progress: {message}"),
        Health::Failed(message) => format!("failed: {message}"),
        Health::Terminating(message) => format!("terminating: {message}"),
    };
    assert_eq!(found, wanted, "{kind}: {yaml}");
}

#[test]
fn every_kind() {
    let custom = "Widget.example.org";
    for (yaml, wanted) in [
        ("{}", "current"),
        ("", "current"),
        ("status: {conditions: x}", "current"),
        (
            "metadata: {deletionTimestamp: 2024-01-01T00:00:00Z}",
            "terminating: being deleted",
        ),
        (
            "metadata: {deletionTimestamp: '1', finalizers: [a/b, c/d]}",
            "terminating: being deleted, held by a/b, c/d",
        ),
        (
            "metadata: {generation: 2}\nstatus: {observedGeneration: 1}",
            "progress: generation 2 is not observed yet, only 1",
        ),
        (
            "metadata: {generation: 2}\nstatus: {observedGeneration: 2}",
            "current",
        ),
        ("metadata: {generation: 2}\nstatus: {}", "current"),
        (
            "status: {conditions: [{type: Reconciling, status: 'True', message: busy}]}",
            "progress: busy",
        ),
        (
            "status: {conditions: [{type: Reconciling, status: 'False'}]}",
            "current",
        ),
        (
            "status: {conditions: [{type: Stalled, status: 'True', reason: Broken}]}",
            "failed: Broken",
        ),
        (
            "status: {conditions: [{type: Ready, status: 'True'}]}",
            "current",
        ),
        (
            "status: {conditions: [{type: Ready, status: 'False', message: no dice}]}",
            "progress: no dice",
        ),
        (
            "status: {conditions: [{type: Ready, status: Unknown}]}",
            "progress: not ready",
        ),
        (
            "status: {conditions: [{type: Ready, status: 'False', message: 'from https://u:p@h/x'}]}",
            "progress: from https://h/x",
        ),
    ] {
        check(custom, yaml, wanted);
    }
    check(
        "Secret",
        "metadata: {deletionTimestamp: '1'}",
        "terminating: being deleted",
    );
    check(
        "ConfigMap",
        "status: {conditions: [{type: Ready, status: 'False'}]}",
        "current",
    );
    check("CronJob.batch", "{}", "current");
    check("Deployment.example.org", "spec: {replicas: 3}", "current");
}

#[test]
fn deployments() {
    let status = |replicas, updated, available, ready, conditions: &str| {
        format!(
            "spec: {{replicas: 3, progressDeadlineSeconds: 600}}\nstatus:\n  replicas: {replicas}\n  updatedReplicas: {updated}\n  \
             availableReplicas: {available}\n  readyReplicas: {ready}\n  conditions: [{conditions}]\n"
        )
    };
    let done = "{type: Progressing, status: 'True', reason: NewReplicaSetAvailable}, {type: Available, status: 'True'}";
    let unavailable = "{type: Progressing, status: 'True', reason: NewReplicaSetAvailable}";
    let deadline = "{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: timed out}";
    let quota =
        "{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: exceeded quota}";
    for (yaml, wanted) in [
        (status(3, 3, 3, 3, done), "current"),
        (status(0, 0, 0, 0, ""), "progress: 0 of 3 replicas created"),
        (
            status(3, 1, 3, 3, done),
            "progress: 1 of 3 replicas updated",
        ),
        (
            status(4, 3, 3, 3, done),
            "progress: 1 old replicas still to go",
        ),
        (
            status(3, 3, 2, 3, done),
            "progress: 2 of 3 replicas available",
        ),
        (status(3, 3, 3, 2, done), "progress: 2 of 3 replicas ready"),
        (
            status(3, 3, 3, 3, unavailable),
            "progress: not available yet",
        ),
        (
            status(3, 3, 3, 3, "{type: Available, status: 'True'}"),
            "progress: the new replica set is not available yet",
        ),
        (
            status(1, 1, 0, 0, deadline),
            "failed: progress deadline exceeded: timed out",
        ),
        (
            status(1, 1, 1, 1, quota),
            "progress: 1 of 3 replicas created; pods cannot be created: exceeded quota",
        ),
        (
            status(1, 1, 1, 1, &format!("{deadline}, {quota}")),
            "failed: progress deadline exceeded: timed out; pods cannot be created: exceeded quota",
        ),
        (status(3, 3, 3, 3, &format!("{done}, {quota}")), "current"),
        ("{}".to_owned(), "progress: 0 of 1 replicas created"),
        (
            "spec: {replicas: 0}\nstatus: {conditions: [{type: Available, status: 'True'}]}"
                .to_owned(),
            "current",
        ),
    ] {
        check("Deployment.apps", &yaml, wanted);
    }
}

#[test]
fn replica_sets_and_stateful_sets() {
    for (yaml, wanted) in [
        ("{}", "progress: 0 of 1 replicas labelled"),
        (
            "status: {fullyLabeledReplicas: 1}",
            "progress: 0 of 1 replicas available",
        ),
        (
            "status: {fullyLabeledReplicas: 1, availableReplicas: 1}",
            "progress: 0 of 1 replicas ready",
        ),
        (
            "status: {replicas: 2, fullyLabeledReplicas: 1, availableReplicas: 1, readyReplicas: 1}",
            "progress: 1 old replicas still to go",
        ),
        (
            "status: {replicas: 1, fullyLabeledReplicas: 1, availableReplicas: 1, readyReplicas: 1}",
            "current",
        ),
        (
            "status: {conditions: [{type: ReplicaFailure, status: 'True', message: quota}]}",
            "progress: pods cannot be created: quota",
        ),
    ] {
        check("ReplicaSet.apps", yaml, wanted);
    }
    for (yaml, wanted) in [
        ("{}", "progress: 0 of 1 replicas created"),
        ("spec: {updateStrategy: {type: OnDelete}}", "current"),
        ("status: {replicas: 1}", "progress: 0 of 1 replicas ready"),
        (
            "status: {replicas: 2, readyReplicas: 2}",
            "progress: 1 old replicas still to go",
        ),
        (
            "status: {replicas: 1, readyReplicas: 1}",
            "progress: 0 of 1 replicas current",
        ),
        (
            "status: {replicas: 1, readyReplicas: 1, currentReplicas: 1, currentRevision: a, updateRevision: b}",
            "progress: the new revision is not everywhere yet",
        ),
        (
            "status: {replicas: 1, readyReplicas: 1, currentReplicas: 1, currentRevision: b, updateRevision: b}",
            "current",
        ),
        (
            "spec: {replicas: 3, updateStrategy: {rollingUpdate: {partition: 1}}}\nstatus: {replicas: 3, readyReplicas: 3, updatedReplicas: 1}",
            "progress: 1 of 2 replicas updated",
        ),
        (
            "spec: {replicas: 3, updateStrategy: {rollingUpdate: {partition: 1}}}\nstatus: {replicas: 3, readyReplicas: 3, updatedReplicas: 2}",
            "current",
        ),
        (
            "spec: {replicas: 3, updateStrategy: {rollingUpdate: {partition: 5}}}\nstatus: {replicas: 3, readyReplicas: 3}",
            "current",
        ),
    ] {
        check("StatefulSet.apps", yaml, wanted);
    }
}

#[test]
fn daemon_sets() {
    let status = |scheduled, updated, available, ready| {
        format!(
            "metadata: {{generation: 1}}\nstatus: {{observedGeneration: 1, desiredNumberScheduled: 4, currentNumberScheduled: {scheduled}, \
             updatedNumberScheduled: {updated}, numberAvailable: {available}, numberReady: {ready}}}\n"
        )
    };
    for (yaml, wanted) in [
        (
            "{}".to_owned(),
            "progress: not observed by its controller yet",
        ),
        (
            "status: {desiredNumberScheduled: 0}".to_owned(),
            "progress: not observed by its controller yet",
        ),
        (
            "status: {observedGeneration: 1, desiredNumberScheduled: 0}".to_owned(),
            "current",
        ),
        (status(3, 4, 4, 4), "progress: 3 of 4 pods scheduled"),
        (status(4, 3, 4, 4), "progress: 3 of 4 pods updated"),
        (status(4, 4, 3, 4), "progress: 3 of 4 pods available"),
        (status(4, 4, 4, 3), "progress: 3 of 4 pods ready"),
        (status(4, 4, 4, 4), "current"),
    ] {
        check("DaemonSet.apps", &yaml, wanted);
    }
}

#[test]
fn pods_and_jobs() {
    for (yaml, wanted) in [
        ("{}", "progress: not seen by a node yet"),
        ("status: {phase: Succeeded}", "current"),
        (
            "status: {phase: Failed, reason: Evicted}",
            "failed: Evicted",
        ),
        (
            "status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}",
            "current",
        ),
        (
            "status: {phase: Running}",
            "progress: running, but not ready",
        ),
        (
            "status: {phase: Running, containerStatuses: [{name: web, state: {waiting: {reason: CrashLoopBackOff}}}]}",
            "failed: container web crashes again and again",
        ),
        ("status: {phase: Pending}", "progress: pending"),
        (
            "status: {phase: Pending, containerStatuses: [{name: web, state: {waiting: {reason: ImagePullBackOff}}}]}",
            "progress: container web: ImagePullBackOff",
        ),
        (
            "status: {phase: Pending, conditions: [{type: PodScheduled, status: 'False', message: 0/3 nodes}]}",
            "progress: 0/3 nodes",
        ),
    ] {
        check("Pod", yaml, wanted);
    }
    for (yaml, wanted) in [
        ("{}", "progress: not started yet"),
        (
            "spec: {completions: 3}\nstatus: {startTime: '1', succeeded: 1, failed: 2}",
            "progress: 1 of 3 pods succeeded, 2 failed",
        ),
        (
            "status: {startTime: '1', conditions: [{type: Complete, status: 'True'}]}",
            "current",
        ),
        (
            "spec: {suspend: true}\nstatus: {conditions: [{type: Suspended, status: 'True'}]}",
            "current",
        ),
        // It was resumed a moment ago.
        (
            "spec: {suspend: false}\nstatus: {conditions: [{type: Suspended, status: 'True'}]}",
            "progress: not started yet",
        ),
        (
            "status: {conditions: [{type: Failed, status: 'True', message: too often}]}",
            "failed: the job failed: too often",
        ),
        (
            "status: {startTime: '1', conditions: [{type: Failed, status: 'False'}]}",
            "progress: 0 of 1 pods succeeded, 0 failed",
        ),
    ] {
        check("Job.batch", yaml, wanted);
    }
}

#[test]
fn other_kinds() {
    let hpa = "HorizontalPodAutoscaler.autoscaling";
    let crd = "CustomResourceDefinition.apiextensions.k8s.io";
    for (kind, yaml, wanted) in [
        ("PersistentVolumeClaim", "{}", "progress: not bound yet"),
        (
            "PersistentVolumeClaim",
            "status: {phase: Pending}",
            "progress: not bound yet: Pending",
        ),
        ("PersistentVolumeClaim", "status: {phase: Bound}", "current"),
        ("Service", "{}", "current"),
        (
            "Service",
            "spec: {type: LoadBalancer}",
            "progress: no cluster address yet",
        ),
        (
            "Service",
            "spec: {type: LoadBalancer, clusterIP: 10.0.0.1}",
            "current",
        ),
        (
            "SealedSecret.bitnami.com",
            "status: {}",
            "progress: the Sealed Secrets controller has not unsealed it yet",
        ),
        (
            "SealedSecret.bitnami.com",
            "status: {conditions: [{type: Synced, status: 'False', message: no key could decrypt secret (password)}]}",
            "failed: no key could decrypt secret (password)",
        ),
        (
            "SealedSecret.bitnami.com",
            "status: {conditions: [{type: Synced, status: 'True'}]}",
            "current",
        ),
        (
            "SealedSecret.bitnami.com",
            "metadata: {generation: 2}\nstatus: {observedGeneration: 1, conditions: [{type: Synced, status: 'True'}]}",
            "progress: generation 2 is not observed yet, only 1",
        ),
        ("PodDisruptionBudget.policy", "{}", "current"),
        (
            "PodDisruptionBudget.policy",
            "metadata: {generation: 2}\nstatus: {observedGeneration: 1}",
            "progress: generation 2 is not observed yet, only 1",
        ),
        (
            "PodDisruptionBudget.policy",
            "metadata: {generation: 1}\nstatus: {observedGeneration: 1}",
            "current",
        ),
        // kstatus has no rule for autoscalers and API services: what does not work yet is no less what its
        // spec asks for.
        (hpa, "apiVersion: autoscaling/v2", "current"),
        (
            hpa,
            "status: {conditions: [{type: AbleToScale, status: 'True'}, {type: ScalingActive, status: 'False', message: no metrics}]}",
            "current",
        ),
        (
            hpa,
            "metadata: {generation: 2}\nstatus: {observedGeneration: 1}",
            "progress: generation 2 is not observed yet, only 1",
        ),
        (crd, "{}", "progress: not established yet"),
        (
            crd,
            "status: {conditions: [{type: NamesAccepted, status: 'False', message: taken}]}",
            "failed: names are not accepted: taken",
        ),
        (
            crd,
            "status: {conditions: [{type: Established, status: 'False', reason: Installing}]}",
            "progress: not established yet",
        ),
        (
            crd,
            "status: {conditions: [{type: Established, status: 'False', reason: Odd}]}",
            "failed: not established: Odd",
        ),
        (
            crd,
            "status: {conditions: [{type: Established, status: 'True'}]}",
            "current",
        ),
        ("APIService.apiregistration.k8s.io", "{}", "current"),
        (
            "APIService.apiregistration.k8s.io",
            "status: {conditions: [{type: Available, status: 'False', message: down}]}",
            "current",
        ),
        (
            "APIService.apiregistration.k8s.io",
            "status: {conditions: [{type: Available, status: 'True'}]}",
            "current",
        ),
    ] {
        check(kind, yaml, wanted);
    }
}

/// Kinds without a rule in kstatus, each with what its controller says of a trouble: none has a `Ready`
/// condition, so each is current as soon as it is there.
#[test]
fn kinds_without_a_rule() {
    for (kind, yaml) in [
        ("CronJob.batch", "{}"),
        ("Secret", "{}"),
        ("ConfigMap", "{}"),
        ("Namespace", "status: {phase: Active}"),
        ("ResourceQuota", "status: {hard: {pods: 1}}"),
        ("PersistentVolume", "status: {phase: Pending}"),
        (
            "ReplicationController",
            "spec: {replicas: 2}\nstatus: {replicas: 0}",
        ),
        ("Ingress.networking.k8s.io", "status: {loadBalancer: {}}"),
        ("NetworkPolicy.networking.k8s.io", "{}"),
        ("StorageClass.storage.k8s.io", "{}"),
        (
            "VolumeAttachment.storage.k8s.io",
            "status: {attached: false}",
        ),
        (
            "HorizontalPodAutoscaler.autoscaling",
            "status: {conditions: [{type: ScalingLimited, status: 'True'}]}",
        ),
        (
            "APIService.apiregistration.k8s.io",
            "status: {conditions: []}",
        ),
        (
            "CertificateSigningRequest.certificates.k8s.io",
            "status: {}",
        ),
        (
            "PodDisruptionBudget.policy",
            "status: {conditions: [{type: DisruptionAllowed, status: 'False'}]}",
        ),
        (
            "FlowSchema.flowcontrol.apiserver.k8s.io",
            "status: {conditions: [{type: Dangling, status: 'True'}]}",
        ),
        (
            "ValidatingAdmissionPolicy.admissionregistration.k8s.io",
            "status: {typeChecking: {}}",
        ),
    ] {
        check(kind, yaml, "current");
    }
}

/// A Sync's own words are left out, since they may name another Sync, whose words name another.
#[test]
fn syncs_do_not_repeat_each_others_messages() {
    let ready = |status: &str, more: &str| {
        format!(
            "status: {{conditions: [{{type: Ready, status: {status}, reason: HealthPending, message: 'Sync \
             ns/b: Sync ns/c'}}{more}]}}"
        )
    };
    let reconciling = ", {type: Reconciling, status: 'True', message: 'Sync ns/b: Sync ns/c'}";
    let stalled = ", {type: Stalled, status: 'True', message: 'Sync ns/b: Sync ns/c'}";
    for (yaml, wanted) in [
        (
            "{}".to_owned(),
            "progress: it has no status yet; only a towline that follows its namespace writes one",
        ),
        (ready("'True'", ""), "current"),
        (
            ready("'False'", reconciling),
            "progress: not ready: HealthPending",
        ),
        (
            ready("Unknown", reconciling),
            "progress: not ready: HealthPending",
        ),
        (
            ready("'False'", stalled),
            "failed: not ready: HealthPending",
        ),
        (
            "metadata: {generation: 2}\nstatus: {observedGeneration: 1}".to_owned(),
            "progress: generation 2 is not observed yet, only 1",
        ),
        (
            "metadata: {deletionTimestamp: '1'}".to_owned(),
            "terminating: being deleted",
        ),
    ] {
        check("Sync.towline.dev", &yaml, wanted);
    }
}

#[test]
fn kinds_without_a_body() {
    for (group, kind, wanted) in [
        ("", "ConfigMap", false),
        ("", "Namespace", false),
        ("networking.k8s.io", "IngressClass", false),
        ("networking.k8s.io", "Ingress", true),
        ("", "Service", true),
        ("apps", "Deployment", true),
        ("example.org", "ConfigMap", true),
    ] {
        assert_eq!(
            needs_body(&GroupKind::new(group, kind)),
            wanted,
            "{kind}.{group}"
        );
    }
}

#[test]
fn what_runs_once_has_ended_well_or_not() {
    let job = |kind: &str, message: &str| json!({"status": {"conditions": [{"type": kind, "status": "True", "message": message}]}});
    let pod = |phase: &str| json!({"status": {"phase": phase}});
    let failed = |why: &str| Some(Err(why.to_owned()));
    for (group, kind, live, expected) in [
        ("batch", "Job", json!({}), None),
        ("batch", "Job", json!({"status": {"active": 1}}), None),
        ("batch", "Job", job("Suspended", ""), None),
        ("batch", "Job", job("Complete", ""), Some(Ok(()))),
        (
            "batch",
            "Job",
            job("Failed", "too often"),
            failed("too often"),
        ),
        ("batch", "Job", job("Failed", ""), failed("the Job failed")),
        ("", "Pod", pod("Pending"), None),
        ("", "Pod", pod("Running"), None),
        ("", "Pod", pod("Succeeded"), Some(Ok(()))),
        ("", "Pod", pod("Failed"), failed("ended without success")),
        ("", "ConfigMap", json!({}), Some(Ok(()))),
    ] {
        let kind = GroupKind::new(group, kind);
        assert_eq!(outcome(&kind, &live), expected, "{live}");
    }
}

#[test]
fn the_container_to_blame_is_named() {
    let pod = |field: &str, state: Value| {
        let mut status = state;
        status["name"] = "run".into();
        json!({"status": {field: [{"name": "fine", "state": {"running": {}}}, status]}})
    };
    let ended = json!({"exitCode": 3, "reason": "Error", "message": "password=hunter2"});
    for (field, state, blamed) in [
        ("containerStatuses", json!({"state": {"running": {}}}), None),
        (
            "containerStatuses",
            json!({"state": {"terminated": ended}}),
            Some("container run ended with exit code 3 (Error)"),
        ),
        (
            "initContainerStatuses",
            json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended}}),
            Some("container run ended with exit code 3 (Error), again and again"),
        ),
        (
            "containerStatuses",
            json!({"state": {"waiting": {"reason": "PodInitializing"}}}),
            Some("container run: PodInitializing"),
        ),
        (
            "containerStatuses",
            json!({"state": {"terminated": {"exitCode": 0}}}),
            None,
        ),
    ] {
        assert_eq!(blame(&pod(field, state)).as_deref(), blamed);
    }
}

#[test]
fn what_is_left_in_a_namespace_is_told_before_an_api_server_that_is_away() {
    let condition =
        |kind: &str, message: &str| json!({"type": kind, "status": "True", "message": message});
    let away = condition(
        "NamespaceDeletionDiscoveryFailure",
        "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: a.example.com/v1: \
         stale GroupVersion discovery: a.example.com/v1",
    );
    let content = condition("NamespaceContentRemaining", "1 configmap");
    let finalizers = condition("NamespaceFinalizersRemaining", "a.b/c in 1 instance");
    let failed = condition("NamespaceDeletionContentFailure", "no way");
    let said = "an APIService does not answer, which holds it (delete it if it was uninstalled): \
                a.example.com/v1: stale GroupVersion discovery: a.example.com/v1";
    for (conditions, wanted) in [
        (json!([away]), said.to_owned()),
        (
            json!([away, failed, content, finalizers]),
            format!("a.b/c in 1 instance; 1 configmap; no way; {said}"),
        ),
    ] {
        let found = what_holds(&json!({"status": {"conditions": conditions}}));
        let wanted = fields::shortened(&wanted);
        assert_eq!(found, wanted);
    }
}
