//! Enumerations of the MIBs by name (MAP-25, MAP-30), and the bit field of subunit states (MAP-24).

/// A table of codes and their names.
pub(crate) type Labels = &'static [(i64, &'static str)];

/// The name of a code; a code that the table does not hold becomes its decimal text.
pub(crate) fn label(labels: Labels, code: i64) -> String {
    find(labels, code).map_or_else(|| code.to_string(), str::to_owned)
}

/// The name of a code, `Other` where the table does not hold it: for enumerations that the model closes.
pub(crate) fn closed(labels: Labels, code: i64) -> &'static str {
    find(labels, code).unwrap_or("Other")
}

fn find(labels: Labels, code: i64) -> Option<&'static str> {
    labels
        .iter()
        .find(|&&(known, _)| known == code)
        .map(|&(_, name)| name)
}

/// The state of a subunit (PrtSubUnitStatusTC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubunitState {
    /// What the low three bits say.
    pub status: &'static str,
    /// What the others say.
    pub flags: Vec<&'static str>,
}

impl SubunitState {
    /// Takes the bit field apart.
    #[must_use]
    pub fn new(bits: i64) -> Self {
        let status = match bits & 7 {
            0 => "Idle",
            1 => "UnavailableOnRequest",
            2 => "Standby",
            3 => "Broken",
            4 => "Active",
            6 => "Busy",
            _ => "Unknown",
        };
        let flags = [
            (8, "NonCriticalAlert"),
            (16, "CriticalAlert"),
            (32, "Offline"),
            (64, "Transitioning"),
        ];
        Self {
            status,
            flags: flags
                .into_iter()
                .filter(|(bit, _)| bits & bit != 0)
                .map(|(_, name)| name)
                .collect(),
        }
    }
}

pub(crate) const CAPACITY_UNIT: Labels = &[
    (1, "Other"),
    (2, "Unknown"),
    (3, "TenThousandthsOfInches"),
    (4, "Micrometers"),
    (5, "Characters"),
    (6, "Lines"),
    (7, "Impressions"),
    (8, "Sheets"),
    (9, "DotRow"),
    (11, "Hours"),
    (12, "ThousandthsOfOunces"),
    (13, "TenthsOfGrams"),
    (14, "HundredthsOfFluidOunces"),
    (15, "TenthsOfMilliliters"),
    (16, "Feet"),
    (17, "Meters"),
    (18, "Items"),
    (19, "Percent"),
];

pub(crate) const INPUT_TYPE: Labels = &[
    (1, "Other"),
    (2, "Unknown"),
    (3, "AutoRemovableTray"),
    (4, "NonRemovableTray"),
    (5, "Manual"),
    (6, "Roll"),
    (7, "FanFold"),
];

pub(crate) const OUTPUT_TYPE: Labels = &[
    (1, "Other"),
    (2, "Unknown"),
    (3, "RemovableBin"),
    (4, "UnremovableBin"),
    (5, "ContinuousRollDevice"),
    (6, "Mailbox"),
    (7, "ContinuousFanFold"),
];

pub(crate) const STACKING_ORDER: Labels = &[(2, "Unknown"), (3, "FirstToLast"), (4, "LastToFirst")];

pub(crate) const DELIVERY_ORIENTATION: Labels = &[(2, "Unknown"), (3, "FaceUp"), (4, "FaceDown")];

pub(crate) const PRESENT_ON_OFF: Labels = &[(1, "Other"), (3, "On"), (4, "Off"), (5, "NotPresent")];

pub(crate) const COVER_STATE: Labels = &[
    (1, "Other"),
    (3, "Open"),
    (4, "Closed"),
    (5, "InterlockOpen"),
    (6, "InterlockClosed"),
];

pub(crate) const MARK_TECHNOLOGY: Labels = &[
    (1, "Other"),
    (2, "Unknown"),
    (3, "ElectrophotographicLED"),
    (4, "ElectrophotographicLaser"),
    (5, "ElectrophotographicOther"),
    (6, "ImpactMovingHeadDotMatrix9pin"),
    (7, "ImpactMovingHeadDotMatrix24pin"),
    (8, "ImpactMovingHeadDotMatrixOther"),
    (9, "ImpactMovingHeadFullyFormed"),
    (10, "ImpactBand"),
    (11, "ImpactOther"),
    (12, "InkjetAqueous"),
    (13, "InkjetSolid"),
    (14, "InkjetOther"),
    (15, "Pen"),
    (16, "ThermalTransfer"),
    (17, "ThermalSensitive"),
    (18, "ThermalDiffusion"),
    (19, "ThermalOther"),
    (20, "Electroerosion"),
    (21, "Electrostatic"),
    (22, "PhotographicMicrofiche"),
    (23, "PhotographicImagesetter"),
    (24, "PhotographicOther"),
    (25, "IonDeposition"),
    (26, "EBeam"),
    (27, "Typesetter"),
];

pub(crate) const SUPPLY_TYPE: Labels = &[
    (1, "Other"),
    (2, "Unknown"),
    (3, "Toner"),
    (4, "WasteToner"),
    (5, "Ink"),
    (6, "InkCartridge"),
    (7, "InkRibbon"),
    (8, "WasteInk"),
    (9, "OPC"),
    (10, "Developer"),
    (11, "FuserOil"),
    (12, "SolidWax"),
    (13, "RibbonWax"),
    (14, "WasteWax"),
    (15, "Fuser"),
    (16, "CoronaWire"),
    (17, "FuserOilWick"),
    (18, "CleanerUnit"),
    (19, "FuserCleaningPad"),
    (20, "TransferUnit"),
    (21, "TonerCartridge"),
    (22, "FuserOiler"),
    (23, "Water"),
    (24, "WasteWater"),
    (25, "GlueWaterAdditive"),
    (26, "WastePaper"),
    (27, "BindingSupply"),
    (28, "BandingSupply"),
    (29, "StitchingWire"),
    (30, "ShrinkWrap"),
    (31, "PaperWrap"),
    (32, "Staples"),
    (33, "Inserts"),
    (34, "Covers"),
];

pub(crate) const MEDIA_PATH_TYPE: Labels = &[
    (1, "Other"),
    (2, "Unknown"),
    (3, "LongEdgeBindingDuplex"),
    (4, "ShortEdgeBindingDuplex"),
    (5, "Simplex"),
];

pub(crate) const SPEED_UNIT: Labels = &[
    (3, "TenThousandthsOfInchesPerHour"),
    (4, "MicrometersPerHour"),
    (5, "CharactersPerHour"),
    (6, "LinesPerHour"),
    (7, "ImpressionsPerHour"),
    (8, "SheetsPerHour"),
    (9, "DotRowPerHour"),
    (16, "FeetPerHour"),
    (17, "MetersPerHour"),
];

pub(crate) const CHANNEL_TYPE: Labels = &[
    (1, "Other"),
    (3, "SerialPort"),
    (4, "ParallelPort"),
    (5, "IEEE1284Port"),
    (6, "SCSIPort"),
    (7, "AppleTalkPAP"),
    (8, "LPDServer"),
    (9, "NetwareRPrinter"),
    (10, "NetwarePServer"),
    (11, "Port9100"),
    (12, "AppSocket"),
    (13, "FTP"),
    (14, "TFTP"),
    (15, "DLCLLCPort"),
    (16, "IBM3270"),
    (17, "IBM5250"),
    (18, "Fax"),
    (19, "IEEE1394"),
    (20, "Transport1"),
    (21, "CPAP"),
    (26, "PCPrint"),
    (27, "SMB"),
    (33, "NPAP"),
    (34, "USB"),
    (35, "IRDA"),
    (36, "PrintXChange"),
    (37, "PortTCP"),
    (38, "BidirPortTCP"),
    (39, "UNPP"),
    (40, "AppleTalkADSP"),
    (41, "PortSPX"),
    (42, "PortHTTP"),
    (43, "NDPS"),
    (44, "IPP"),
    (45, "SMTP"),
];

pub(crate) const INTERPRETER_FAMILY: Labels = &[
    (1, "Other"),
    (3, "PCL"),
    (4, "HPGL"),
    (5, "PJL"),
    (6, "PS"),
    (7, "IPDS"),
    (8, "PPDS"),
    (9, "EscapeP"),
    (10, "Epson"),
    (30, "SimpleText"),
    (37, "Automatic"),
    (39, "LIPS"),
    (40, "TIFF"),
    (41, "Diagnostic"),
    (42, "PSPrinter"),
    (47, "PCLXL"),
    (50, "Prescribe"),
    (54, "PDF"),
    (55, "RPDL"),
    (61, "JPEG"),
];

pub(crate) const ORIENTATION: Labels = &[(1, "Other"), (3, "Portrait"), (4, "Landscape")];

pub(crate) const PRINTER_STATUS: Labels = &[
    (1, "Other"),
    (2, "Unknown"),
    (3, "Idle"),
    (4, "Printing"),
    (5, "Warmup"),
];

pub(crate) const CHARACTER_SET: Labels = &[
    (3, "US-ASCII"),
    (4, "ISO-8859-1"),
    (5, "ISO-8859-2"),
    (8, "ISO-8859-5"),
    (12, "ISO-8859-9"),
    (17, "Shift_JIS"),
    (18, "EUC-JP"),
    (106, "UTF-8"),
    (2004, "hp-roman8"),
    (2005, "Adobe-Standard-Encoding"),
    (2009, "IBM850"),
    (2011, "IBM437"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subunit_states_are_taken_apart() {
        let cases: [(i64, &str, &[&str]); 9] = [
            (0, "Idle", &[]),
            (2, "Standby", &[]),
            (4, "Active", &[]),
            (6, "Busy", &[]),
            (5, "Unknown", &[]),
            (9, "UnavailableOnRequest", &["NonCriticalAlert"]),
            (19, "Broken", &["CriticalAlert"]),
            (32, "Idle", &["Offline"]),
            (64 + 4, "Active", &["Transitioning"]),
        ];
        for (bits, status, flags) in cases {
            assert_eq!(
                SubunitState::new(bits),
                SubunitState {
                    status,
                    flags: flags.to_vec()
                },
                "{bits}"
            );
        }
    }

    #[test]
    fn unknown_codes_keep_their_number_or_are_other() {
        assert_eq!(label(SUPPLY_TYPE, 9), "OPC");
        assert_eq!(label(SUPPLY_TYPE, 99), "99");
        assert_eq!(closed(COVER_STATE, 4), "Closed");
        assert_eq!(closed(COVER_STATE, 77), "Other");
    }
}
