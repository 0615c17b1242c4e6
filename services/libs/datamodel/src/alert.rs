//! Alerts: what a row of prtAlertTable means, and what the bits of hrPrinterDetectedErrorState say.

use crate::label::Labels;

/// How bad it is; orders from harmless to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing.
    None,
    /// A code that nobody knows.
    Indeterminate,
    /// Something to order or to watch.
    Warning,
    /// A user is needed; other work goes on.
    Minor,
    /// Printing stops.
    Major,
    /// A technician is needed.
    Critical,
}

impl Severity {
    /// The name in the model.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Indeterminate => "Indeterminate",
            Self::Warning => "Warning",
            Self::Minor => "Minor",
            Self::Major => "Major",
            Self::Critical => "Critical",
        }
    }

    const fn one_lower(self) -> Self {
        match self {
            Self::Critical => Self::Major,
            Self::Major => Self::Minor,
            Self::Minor | Self::Warning => Self::Warning,
            Self::Indeterminate => Self::Indeterminate,
            Self::None => Self::None,
        }
    }
}

/// A row of prtAlertTable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertRow {
    /// prtAlertIndex.
    pub index: u32,
    /// prtAlertSeverityLevel.
    pub severity: i64,
    /// prtAlertTrainingLevel.
    pub training: i64,
    /// prtAlertGroup.
    pub group: i64,
    /// prtAlertGroupIndex.
    pub group_index: i64,
    /// prtAlertLocation.
    pub location: i64,
    /// prtAlertCode.
    pub code: i64,
    /// prtAlertDescription, repaired.
    pub description: String,
    /// prtAlertTime: hundredths of a second since the agent started.
    pub time: Option<u32>,
}

/// What a row means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// A normal state that some printers list among their alerts.
    Ignored,
    /// Something happened that is no fault: a tray was added, a cover closed.
    Notice(Classified),
    /// A fault.
    Fault(Classified),
}

/// A classified row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classified {
    /// Routing class.
    pub category: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// A technician is needed.
    pub service_required: bool,
    /// A user or key operator is needed.
    pub intervention_required: bool,
}

/// Texts by which printers describe normal states in rows without codes.
const IDLE_TEXTS: &[&str] = &[
    "",
    "sleep",
    "energiesparen",
    "idle",
    "ready",
    "bereit",
    "power save",
    "sleep mode",
];

const CRITICAL: i64 = 3;
const WARNING: i64 = 4;
const WARNING_BINARY_CHANGE: i64 = 5;
const FIELD_SERVICE: i64 = 5;

/// Says what a row means: leaves out normal states, looks the code up, then lets the printer's own severity and training level correct it.
#[must_use]
pub fn classify(row: &AlertRow) -> Meaning {
    let idle = IDLE_TEXTS.contains(&row.description.trim().to_lowercase().as_str());
    if idle && row.severity <= 1 && row.group <= 1 && row.code <= 1 {
        return Meaning::Ignored;
    }
    let (category, severity) = by_code(row.code, row.group);
    let severity = match (severity, row.severity) {
        (Severity::None, _) => Severity::None,
        // An unknown code that stops the printer is no small matter.
        (Severity::Indeterminate, CRITICAL) => Severity::Major,
        (Severity::Indeterminate, _) => Severity::Indeterminate,
        (_, CRITICAL) if row.training == FIELD_SERVICE => Severity::Critical,
        (severity, CRITICAL) => severity.max(Severity::Major),
        // A printer that warms up reports its fuser; that is no call for a technician.
        (_, WARNING | WARNING_BINARY_CHANGE) if row.code == FUSER_WARMING => Severity::Warning,
        (severity, WARNING | WARNING_BINARY_CHANGE) => severity.min(Severity::Minor),
        (severity, _) => severity,
    };
    let classified = Classified {
        category,
        severity,
        service_required: severity == Severity::Critical,
        intervention_required: severity >= Severity::Minor
            && severity < Severity::Critical
            && matches!(row.training, 3 | 4),
    };
    if severity == Severity::None {
        Meaning::Notice(classified)
    } else {
        Meaning::Fault(classified)
    }
}

const FUSER_WARMING: i64 = 1001;

const GROUP_SUPPLIES: i64 = 11;
const FINISHER_CODES: std::ops::RangeInclusive<i64> = 30_000..=31_899;

fn by_code(code: i64, group: i64) -> (&'static str, Severity) {
    use Severity::{Critical, Indeterminate, Major, Minor, None, Warning};
    if FINISHER_CODES.contains(&code) {
        // 30000 + 100 · kind of finisher + code; printing goes on without finishing.
        return (
            "Finisher",
            by_code((code - 30_000) % 100, group).1.one_lower(),
        );
    }
    match code {
        3 | 5 | 18 | 501 => ("Cover", Minor),
        4 | 6 | 7 | 19 | 20 | 25..=28 | 502 | 503 | 505..=507 | 802..=806 | 1501..=1506 => {
            ("Configuration", None)
        }
        8 => ("Jam", Major),
        9 if group == GROUP_SUPPLIES => ("Supply", Major),
        9 | 801 | 901 | 1301 => (
            if matches!(group, 8 | 9) {
                "Media"
            } else {
                "Hardware"
            },
            Minor,
        ),
        10 | 1111 | 1113 => ("ServicePart", Warning),
        11 | 1112 | 1114 => ("ServicePart", Major),
        12 | 1104..=1106 => (supply_or_media(group), Warning),
        13 | 1101..=1103 => (supply_or_media(group), Major),
        14 | 1107 | 1108 => (supply_or_media(group), Warning),
        15 | 1109 | 1110 => (supply_or_media(group), Major),
        16 => ("ServicePart", Warning),
        17 => ("ServicePart", Minor),
        21 | 22 => ("Communication", Minor),
        23 | 24 | 504 | 1005 => ("Power", None),
        29 | 34 => ("Hardware", Minor),
        31 => ("Storage", Minor),
        30 | 32 | 33 | 35..=38 | 1001..=1004 => ("Hardware", Critical),
        807 => ("Media", Warning),
        808..=810 | 813 => ("Media", Minor),
        811 | 812 | 904 => ("Hardware", Major),
        902 | 1302 => ("Media", Warning),
        903 | 1303 => ("Media", Minor),
        1115 => ("Supply", Major),
        1304 | 1507 | 1509 => ("Configuration", Warning),
        1801 => ("Other", None),
        _ => ("Other", Indeterminate),
    }
}

/// The general codes "almost empty" and the like are used for trays and bins too.
fn supply_or_media(group: i64) -> &'static str {
    if matches!(group, 8 | 9) {
        "Media"
    } else {
        "Supply"
    }
}

/// One condition of hrPrinterDetectedErrorState.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectedError {
    /// The name in the model.
    pub name: &'static str,
    /// How bad it is if no alert row explains it.
    pub severity: Severity,
}

const DETECTED_ERRORS: [DetectedError; 15] = {
    const fn error(name: &'static str, severity: Severity) -> DetectedError {
        DetectedError { name, severity }
    }
    [
        error("LowPaper", Severity::Warning),
        error("NoPaper", Severity::Minor),
        error("LowToner", Severity::Warning),
        error("NoToner", Severity::Major),
        error("DoorOpen", Severity::Minor),
        error("Jammed", Severity::Major),
        error("Offline", Severity::Major),
        error("ServiceRequested", Severity::Critical),
        error("InputTrayMissing", Severity::Minor),
        error("OutputTrayMissing", Severity::Minor),
        error("MarkerSupplyMissing", Severity::Major),
        error("OutputNearFull", Severity::Warning),
        error("OutputFull", Severity::Minor),
        error("InputTrayEmpty", Severity::Warning),
        error("OverduePreventMaint", Severity::Minor),
    ]
};

/// The conditions whose bits are set; bit 0 is the highest of the first octet, absent octets are zero.
pub fn detected_errors(octets: &[u8]) -> impl Iterator<Item = DetectedError> {
    let bits = [
        octets.first().copied().unwrap_or(0),
        octets.get(1).copied().unwrap_or(0),
    ];
    DETECTED_ERRORS
        .into_iter()
        .enumerate()
        .filter(move |(bit, _)| bits[bit / 8] & (0x80 >> (bit % 8)) != 0)
        .map(|(_, error)| error)
}

pub(crate) const GROUP: Labels = &[
    (1, "Other"),
    (2, "Unknown"),
    (3, "HostResourcesMIBStorageTable"),
    (4, "HostResourcesMIBDeviceTable"),
    (5, "GeneralPrinter"),
    (6, "Cover"),
    (7, "Localization"),
    (8, "Input"),
    (9, "Output"),
    (10, "Marker"),
    (11, "MarkerSupplies"),
    (12, "MarkerColorant"),
    (13, "MediaPath"),
    (14, "Channel"),
    (15, "Interpreter"),
    (16, "ConsoleDisplayBuffer"),
    (17, "ConsoleLights"),
    (18, "Alert"),
    (30, "FinDevice"),
    (31, "FinSupply"),
    (32, "FinSupplyMediaInput"),
    (33, "FinAttributeTable"),
];

pub(crate) const SEVERITY_LEVEL: Labels = &[
    (1, "Other"),
    (3, "Critical"),
    (4, "Warning"),
    (5, "WarningBinaryChange"),
];

pub(crate) const TRAINING_LEVEL: Labels = &[
    (1, "Other"),
    (2, "Unknown"),
    (3, "Untrained"),
    (4, "Trained"),
    (5, "FieldService"),
    (6, "Management"),
    (7, "NoInterventionRequired"),
];

pub(crate) const CODE: Labels = &[
    (1, "Other"),
    (2, "Unknown"),
    (3, "CoverOpen"),
    (4, "CoverClosed"),
    (5, "InterlockOpen"),
    (6, "InterlockClosed"),
    (7, "ConfigurationChange"),
    (8, "Jam"),
    (9, "SubunitMissing"),
    (10, "SubunitLifeAlmostOver"),
    (11, "SubunitLifeOver"),
    (12, "SubunitAlmostEmpty"),
    (13, "SubunitEmpty"),
    (14, "SubunitAlmostFull"),
    (15, "SubunitFull"),
    (16, "SubunitNearLimit"),
    (17, "SubunitAtLimit"),
    (18, "SubunitOpened"),
    (19, "SubunitClosed"),
    (20, "SubunitTurnedOn"),
    (21, "SubunitTurnedOff"),
    (22, "SubunitOffline"),
    (23, "SubunitPowerSaver"),
    (24, "SubunitWarmingUp"),
    (25, "SubunitAdded"),
    (26, "SubunitRemoved"),
    (27, "SubunitResourceAdded"),
    (28, "SubunitResourceRemoved"),
    (29, "SubunitRecoverableFailure"),
    (30, "SubunitUnrecoverableFailure"),
    (31, "SubunitRecoverableStorageError"),
    (32, "SubunitUnrecoverableStorageError"),
    (33, "SubunitMotorFailure"),
    (34, "SubunitMemoryExhausted"),
    (35, "SubunitUnderTemperature"),
    (36, "SubunitOverTemperature"),
    (37, "SubunitTimingFailure"),
    (38, "SubunitThermistorFailure"),
    (501, "DoorOpen"),
    (502, "DoorClosed"),
    (503, "PowerUp"),
    (504, "PowerDown"),
    (505, "PrinterNMSReset"),
    (506, "PrinterManualReset"),
    (507, "PrinterReadyToPrint"),
    (801, "InputMediaTrayMissing"),
    (802, "InputMediaSizeChange"),
    (803, "InputMediaWeightChange"),
    (804, "InputMediaTypeChange"),
    (805, "InputMediaColorChange"),
    (806, "InputMediaFormPartsChange"),
    (807, "InputMediaSupplyLow"),
    (808, "InputMediaSupplyEmpty"),
    (809, "InputMediaChangeRequest"),
    (810, "InputManualInputRequest"),
    (811, "InputTrayPositionFailure"),
    (812, "InputTrayElevationFailure"),
    (813, "InputCannotFeedSizeSelected"),
    (901, "OutputMediaTrayMissing"),
    (902, "OutputMediaTrayAlmostFull"),
    (903, "OutputMediaTrayFull"),
    (904, "OutputMailboxSelectFailure"),
    (1001, "MarkerFuserUnderTemperature"),
    (1002, "MarkerFuserOverTemperature"),
    (1003, "MarkerFuserTimingFailure"),
    (1004, "MarkerFuserThermistorFailure"),
    (1005, "MarkerAdjustingPrintQuality"),
    (1101, "MarkerTonerEmpty"),
    (1102, "MarkerInkEmpty"),
    (1103, "MarkerPrintRibbonEmpty"),
    (1104, "MarkerTonerAlmostEmpty"),
    (1105, "MarkerInkAlmostEmpty"),
    (1106, "MarkerPrintRibbonAlmostEmpty"),
    (1107, "MarkerWasteTonerReceptacleAlmostFull"),
    (1108, "MarkerWasteInkReceptacleAlmostFull"),
    (1109, "MarkerWasteTonerReceptacleFull"),
    (1110, "MarkerWasteInkReceptacleFull"),
    (1111, "MarkerOPCLifeAlmostOver"),
    (1112, "MarkerOPCLifeOver"),
    (1113, "MarkerDeveloperAlmostEmpty"),
    (1114, "MarkerDeveloperEmpty"),
    (1115, "MarkerTonerCartridgeMissing"),
    (1301, "MediaPathMediaTrayMissing"),
    (1302, "MediaPathMediaTrayAlmostFull"),
    (1303, "MediaPathMediaTrayFull"),
    (1304, "MediaPathCannotDuplexMediaSelected"),
    (1501, "InterpreterMemoryIncrease"),
    (1502, "InterpreterMemoryDecrease"),
    (1503, "InterpreterCartridgeAdded"),
    (1504, "InterpreterCartridgeDeleted"),
    (1505, "InterpreterResourceAdded"),
    (1506, "InterpreterResourceDeleted"),
    (1507, "InterpreterResourceUnavailable"),
    (1509, "InterpreterComplexPageEncountered"),
    (1801, "AlertRemovalOfBinaryChangeEntry"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn row(severity: i64, training: i64, group: i64, code: i64, description: &str) -> AlertRow {
        AlertRow {
            severity,
            training,
            group,
            code,
            description: description.to_owned(),
            ..AlertRow::default()
        }
    }

    #[test]
    fn normal_states_are_no_alerts() {
        for row in [
            row(0, 0, 0, 0, "Sleep"),
            row(1, 1, 1, 1, "Idle"),
            row(1, 0, 1, 0, "Energiesparen"),
            row(0, 0, 0, 0, ""),
        ] {
            assert_eq!(classify(&row), Meaning::Ignored, "{row:?}");
        }
        assert_ne!(classify(&row(3, 3, 8, 808, "Ready")), Meaning::Ignored);
    }

    #[test]
    fn codes_are_classified() {
        use Severity::{Critical, Indeterminate, Major, Minor, None, Warning};
        let cases = [
            // Kyocera: power-up, and a fuser that warms up.
            (row(4, 6, 5, 503, ""), "Configuration", None),
            (row(5, 3, 10, 1001, ""), "Hardware", Warning),
            // Epson: ink almost empty.
            (row(5, 3, 11, 1105, "Ink is low."), "Supply", Warning),
            (row(3, 3, 6, 3, ""), "Cover", Major),
            (row(4, 3, 6, 3, ""), "Cover", Minor),
            (row(3, 3, 13, 8, ""), "Jam", Major),
            (row(4, 3, 13, 8, ""), "Jam", Minor),
            (row(3, 3, 11, 1101, ""), "Supply", Major),
            (row(3, 5, 10, 1002, ""), "Hardware", Critical),
            (row(3, 5, 10, 11, ""), "ServicePart", Critical),
            (row(3, 3, 8, 808, ""), "Media", Major),
            (row(4, 3, 8, 13, ""), "Media", Minor),
            (row(1, 3, 8, 807, ""), "Media", Warning),
            (row(1, 3, 11, 1115, ""), "Supply", Major),
            (row(1, 1, 5, 4711, "?"), "Other", Indeterminate),
            (row(3, 1, 5, 4711, "?"), "Other", Major),
            (row(1, 1, 5, 23, ""), "Power", None),
            (row(1, 1, 18, 1801, ""), "Other", None),
            // A stapler that jams or runs empty does not stop printing.
            (row(1, 3, 30, 30_208, ""), "Finisher", Minor),
            (row(1, 3, 30, 30_212, ""), "Finisher", Warning),
        ];
        for (row, category, severity) in cases {
            match classify(&row) {
                Meaning::Fault(found) => assert_eq!(
                    (found.category, found.severity),
                    (category, severity),
                    "{row:?}"
                ),
                Meaning::Notice(found) => assert_eq!(
                    (found.category, Severity::None),
                    (category, severity),
                    "{row:?}"
                ),
                Meaning::Ignored => panic!("{row:?} was ignored"),
            }
        }
    }

    #[test]
    fn training_says_who_is_needed() {
        let needs = |row: AlertRow| match classify(&row) {
            Meaning::Fault(found) => (found.service_required, found.intervention_required),
            other => panic!("{other:?}"),
        };
        assert_eq!(needs(row(3, 5, 10, 30, "")), (true, false));
        assert_eq!(needs(row(3, 3, 13, 8, "")), (false, true));
        assert_eq!(needs(row(3, 7, 13, 8, "")), (false, false));
        assert_eq!(needs(row(4, 3, 11, 1104, "")), (false, false));
    }

    #[test]
    fn bits_are_read_from_the_left() {
        let names = |octets: &[u8]| {
            detected_errors(octets)
                .map(|error| error.name)
                .collect::<Vec<_>>()
        };
        // Konica C250i, Samsung M4080, Sharp MX-3570N, Epson CW, and printers without errors.
        assert_eq!(names(&[0x01, 0x00]), ["ServiceRequested"]);
        assert_eq!(names(&[0x80, 0x00]), ["LowPaper"]);
        assert_eq!(names(&[0x20, 0x00]), ["LowToner"]);
        assert_eq!(names(&[0x20]), ["LowToner"]);
        assert_eq!(names(&[0x00]), Vec::<&str>::new());
        assert_eq!(names(&[]), Vec::<&str>::new());
        assert_eq!(
            names(&[0x48, 0x82, 0xff, 0xff]),
            [
                "NoPaper",
                "DoorOpen",
                "InputTrayMissing",
                "OverduePreventMaint"
            ]
        );
        assert_eq!(detected_errors(&[0xff, 0xff]).count(), 15);
    }
}
