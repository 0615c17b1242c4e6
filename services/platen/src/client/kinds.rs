//! What is shown of each kind of resource.

use super::output::Columns;

pub(crate) const DEVICES: Columns = &[
    ("ID", "/name"),
    ("STATE", "/state"),
    ("ONLINE", "/online"),
    ("MANUFACTURER", "/manufacturer"),
    ("MODEL", "/modelName"),
    ("VERSION", "/softwareVersion"),
    ("LAST INFORM", "/lastInformTime"),
    ("TAGS", "/tags"),
];

pub(crate) const DEVICE: Columns = &[
    ("name", "/name"),
    ("state", "/state"),
    ("quarantine reason", "/quarantineReason"),
    ("online", "/online"),
    ("manufacturer", "/manufacturer"),
    ("model", "/modelName"),
    ("software version", "/softwareVersion"),
    ("hardware version", "/hardwareVersion"),
    ("data model", "/rootDataModel"),
    ("account", "/account"),
    ("tags", "/tags"),
    ("fields", "/fields"),
    ("proxied by", "/proxiedBy"),
    ("may proxy", "/mayProxy"),
    ("allowed devices", "/allowedDevices"),
    ("connection request", "/connectionRequestUrl"),
    ("last inform", "/lastInformTime"),
    ("last events", "/lastEvents"),
    ("created", "/createTime"),
    ("updated", "/updateTime"),
    ("etag", "/etag"),
    ("username", "/credentials/username"),
    ("password", "/credentials/password"),
];

pub(crate) const PARAMETERS: Columns = &[
    ("PATH", "/path"),
    ("VALUE", "/value"),
    ("PENDING", "/pendingValue"),
    ("TYPE", "/type"),
    ("WRITABLE", "/writable"),
    ("STATE", "/state"),
    ("READ", "/readTime"),
];

pub(crate) const OPERATIONS: Columns = &[
    ("NAME", "/name"),
    ("STATE", "/state"),
    ("CREATED", "/createTime"),
    ("ENDED", "/endTime"),
    ("BY", "/createdBy"),
    ("ERROR", "/error/code"),
];

pub(crate) const OPERATION: Columns = &[
    ("name", "/name"),
    ("device", "/device"),
    ("state", "/state"),
    ("attempts", "/attempts"),
    ("created", "/createTime"),
    ("started", "/startTime"),
    ("ended", "/endTime"),
    ("status", "/result/status"),
    ("instance number", "/result/instanceNumber"),
    ("methods", "/result/methods"),
    ("software version", "/result/softwareVersion"),
    ("diagnostic", "/result/diagnostic/state"),
    ("answer", "/result/rawXml"),
    ("error", "/error/code"),
    ("message", "/error/message"),
    ("fault", "/error/cwmpFault/code"),
    ("fault text", "/error/cwmpFault/string"),
];

pub(crate) const VALUES: Columns = &[("PATH", "/path"), ("VALUE", "/value"), ("TYPE", "/type")];
pub(crate) const NAMES: Columns = &[("PATH", "/path"), ("WRITABLE", "/writable")];
pub(crate) const ATTRIBUTES: Columns = &[
    ("PATH", "/path"),
    ("NOTIFICATION", "/notification"),
    ("ACCESS LIST", "/accessList"),
];
pub(crate) const TRANSFERS: Columns = &[
    ("COMMAND KEY", "/commandKey"),
    ("STATE", "/state"),
    ("DOWNLOAD", "/isDownload"),
    ("FILE TYPE", "/fileType"),
    ("FILE", "/targetFileName"),
];
pub(crate) const DEPLOYMENT_UNITS: Columns = &[
    ("UUID", "/uuid"),
    ("VERSION", "/version"),
    ("STATE", "/currentState"),
    ("FAULT", "/fault/code"),
];
pub(crate) const FINDINGS: Columns = &[("FINDING", "/name"), ("VALUE", "/value")];
pub(crate) const ROUTE_HOPS: Columns = &[
    ("HOST", "/host"),
    ("ADDRESS", "/hostAddress"),
    ("TIMES", "/rtTimes"),
    ("ICMP", "/errorCode"),
];
pub(crate) const DNS_ANSWERS: Columns = &[
    ("STATUS", "/status"),
    ("NAME", "/hostNameReturned"),
    ("ADDRESSES", "/ipAddresses"),
    ("TYPE", "/answerType"),
    ("SERVER", "/dnsServerIp"),
    ("TIME", "/responseTime"),
];
pub(crate) const WIFI_NEIGHBORS: Columns = &[
    ("SSID", "/ssid"),
    ("BSSID", "/bssid"),
    ("CHANNEL", "/channel"),
    ("SIGNAL", "/signalStrength"),
    ("SECURITY", "/securityModeEnabled"),
];
pub(crate) const PARAMETER_FAULTS: Columns =
    &[("PATH", "/path"), ("CODE", "/code"), ("FAULT", "/string")];

pub(crate) const PROFILES: Columns = &[
    ("NAME", "/name"),
    ("PRIORITY", "/priority"),
    ("VERSION", "/version"),
    ("DISABLED", "/disabled"),
    ("SELECTOR", "/selector"),
];

pub(crate) const PROFILE: Columns = &[
    ("name", "/name"),
    ("display name", "/displayName"),
    ("selector", "/selector"),
    ("settings", "/settings"),
    ("priority", "/priority"),
    ("version", "/version"),
    ("disabled", "/disabled"),
    ("created", "/createTime"),
    ("updated", "/updateTime"),
    ("etag", "/etag"),
];

pub(crate) const ARTIFACTS: Columns = &[
    ("NAME", "/name"),
    ("STATE", "/state"),
    ("VERSION", "/version"),
    ("BYTES", "/sizeBytes"),
    ("FILE TYPE", "/fileType"),
    ("MODELS", "/compatibility/models"),
];

pub(crate) const ARTIFACT: Columns = &[
    ("name", "/name"),
    ("display name", "/displayName"),
    ("state", "/state"),
    ("version", "/version"),
    ("file type", "/fileType"),
    ("file name", "/targetFileName"),
    ("bytes", "/sizeBytes"),
    ("sha256", "/sha256"),
    ("manufacturers", "/compatibility/manufacturers"),
    ("models", "/compatibility/models"),
    ("hardware versions", "/compatibility/hardwareVersions"),
    ("from versions", "/compatibility/fromVersions"),
    ("created", "/createTime"),
    ("etag", "/etag"),
];

pub(crate) const READINGS: Columns = &[
    ("TIME", "/time"),
    ("METER", "/meter"),
    ("VALUE", "/value"),
    ("UNIT", "/unit"),
    ("QUALITY", "/quality"),
    ("FLAGS", "/flags"),
    ("SEQUENCE", "/sequence"),
    ("SOURCE", "/source"),
];

pub(crate) const LEDGER: Columns = &[
    ("intact", "/intact"),
    ("sets", "/sets"),
    ("first broken (0: none)", "/firstBrokenSequence"),
    ("head", "/head"),
];

pub(crate) const EVENTS: Columns = &[
    ("TIME", "/time"),
    ("KIND", "/kind"),
    ("DEVICE", "/device"),
    ("EVENTS", "/inform/events"),
    ("REASON", "/quarantined/reason"),
];

pub(crate) const TENANTS: Columns = &[
    ("NAME", "/name"),
    ("DISPLAY NAME", "/displayName"),
    ("ENROLMENT", "/enrolment"),
    ("SCHEMES", "/authSchemes"),
    ("CONNECTION REQUESTS TO", "/connectionRequestAllow"),
];

pub(crate) const TOKENS: Columns = &[
    ("NAME", "/name"),
    ("ROLE", "/role"),
    ("DISPLAY NAME", "/displayName"),
    ("EXPIRES", "/expireTime"),
    ("SECRET", "/secret"),
];
