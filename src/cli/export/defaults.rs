//! What the API server fills in where a manifest says nothing.

/// Defaults, by their place: a name, or `*` for each item of a list. The meaning of a name depends on where it stands.
pub(super) type Defaults = [(&'static str, &'static str)];

pub(super) const SERVICE: &Defaults = &[
    ("internalTrafficPolicy", r#""Cluster""#),
    ("ports/*/protocol", r#""TCP""#),
    ("sessionAffinity", r#""None""#),
    ("type", r#""ClusterIP""#),
];

pub(super) const CLAIM: &Defaults = &[("volumeMode", r#""Filesystem""#)];

pub(super) const DEPLOYMENT: &Defaults = &[
    ("progressDeadlineSeconds", "600"),
    ("revisionHistoryLimit", "10"),
    (
        "strategy",
        r#"{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"}"#,
    ),
];

pub(super) const STATEFUL_SET: &Defaults = &[
    (
        "persistentVolumeClaimRetentionPolicy",
        r#"{"whenDeleted":"Retain","whenScaled":"Retain"}"#,
    ),
    ("podManagementPolicy", r#""OrderedReady""#),
    ("revisionHistoryLimit", "10"),
    (
        "updateStrategy",
        r#"{"rollingUpdate":{"partition":0},"type":"RollingUpdate"}"#,
    ),
    ("volumeClaimTemplates/*/metadata/creationTimestamp", "null"),
    ("volumeClaimTemplates/*/spec/volumeMode", r#""Filesystem""#),
    ("volumeClaimTemplates/*/status", r#"{"phase":"Pending"}"#),
];

pub(super) const DAEMON_SET: &Defaults = &[
    ("revisionHistoryLimit", "10"),
    (
        "updateStrategy",
        r#"{"rollingUpdate":{"maxSurge":0,"maxUnavailable":1},"type":"RollingUpdate"}"#,
    ),
];

pub(super) const JOB: &Defaults = &[
    ("backoffLimit", "6"),
    ("completionMode", r#""NonIndexed""#),
    ("completions", "1"),
    ("manualSelector", "false"),
    ("parallelism", "1"),
    ("podReplacementPolicy", r#""TerminatingOrFailed""#),
    ("suspend", "false"),
];

pub(super) const CRON_JOB: &Defaults = &[
    ("concurrencyPolicy", r#""Allow""#),
    ("failedJobsHistoryLimit", "1"),
    ("jobTemplate/metadata/creationTimestamp", "null"),
    ("successfulJobsHistoryLimit", "3"),
    ("suspend", "false"),
];

pub(super) const POD: &Defaults = &[
    ("dnsPolicy", r#""ClusterFirst""#),
    ("enableServiceLinks", "true"),
    ("preemptionPolicy", r#""PreemptLowerPriority""#),
    ("restartPolicy", r#""Always""#),
    ("schedulerName", r#""default-scheduler""#),
    ("securityContext", "{}"),
    ("terminationGracePeriodSeconds", "30"),
    ("volumes/*/configMap/defaultMode", "420"),
    ("volumes/*/downwardAPI/defaultMode", "420"),
    ("volumes/*/projected/defaultMode", "420"),
    ("volumes/*/secret/defaultMode", "420"),
];

pub(super) const CONTAINER: &Defaults = &[
    ("env/*/valueFrom/fieldRef/apiVersion", r#""v1""#),
    ("lifecycle/postStart/httpGet/scheme", r#""HTTP""#),
    ("lifecycle/preStop/httpGet/scheme", r#""HTTP""#),
    ("ports/*/protocol", r#""TCP""#),
    ("resources", "{}"),
    ("securityContext", "{}"),
    ("terminationMessagePath", r#""/dev/termination-log""#),
    ("terminationMessagePolicy", r#""File""#),
];

pub(super) const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

pub(super) const PROBE: &Defaults = &[
    ("failureThreshold", "3"),
    ("grpc/service", r#""""#),
    ("httpGet/scheme", r#""HTTP""#),
    ("periodSeconds", "10"),
    ("successThreshold", "1"),
    ("timeoutSeconds", "1"),
];
