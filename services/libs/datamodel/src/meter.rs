//! The meters that contracts bill and people watch: name, path and unit of each, in one table.
//!
//! A meter is a lifetime counter below `Device.Services.MFPService.{i}.Counters.`. Values are unsigned 64-bit integers; the largest
//! one, [`NO_DATA`], says that the device gave no value.

use std::fmt;
use std::str::FromStr;

use crate::path;

/// The value of a meter for which the device has no data. It is never a reading.
pub const NO_DATA: u64 = u64::MAX;

/// What one step of a meter stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// Sides that passed the engine.
    Impressions,
    /// Pieces of media.
    Sheets,
    /// Scanned or processed page images.
    Images,
    /// Pages sent or received by fax.
    Pages,
    /// Occurrences, such as jams or failed calls.
    Events,
}

impl Unit {
    /// The name that the API shows: `IMPRESSIONS`, `SHEETS`, ….
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Impressions => "IMPRESSIONS",
            Self::Sheets => "SHEETS",
            Self::Images => "IMAGES",
            Self::Pages => "PAGES",
            Self::Events => "EVENTS",
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Declares the meters once: variant, API name, path below `Counters.`, unit.
macro_rules! meters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $path:literal, $unit:ident;)+) => {
        /// A lifetime counter of an imaging service.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Meter {
            $($(#[$doc])* $variant,)+
        }

        impl Meter {
            /// Every meter, in the order in which lists show them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name that the API and contracts use: `TOTAL`, `LARGE_COLOR`, ….
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What one step of the meter stands for.
            #[must_use]
            pub const fn unit(self) -> Unit {
                match self {
                    $(Self::$variant => Unit::$unit,)+
                }
            }

            /// The path below `Device.Services.MFPService.{i}.`, such as `Counters.Total.TotalImpressions`.
            #[must_use]
            pub const fn relative_path(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("Counters.", $path),)+
                }
            }

            fn from_relative_path(path: &str) -> Option<Self> {
                match path {
                    $(concat!("Counters.", $path) => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

meters! {
    /// All sides that were marked or passed; the vendor's billable total where there is one.
    Total = "TOTAL", "Total.TotalImpressions", Impressions;
    /// Sides in black only.
    Mono = "MONO", "Total.MonochromeImpressions", Impressions;
    /// Sides in process colour.
    Color = "COLOR", "Total.FullColorImpressions", Impressions;
    /// Sides with one or two extra colours.
    Highlight = "HIGHLIGHT", "Total.HighlightColorImpressions", Impressions;
    /// Blank sides.
    Blank = "BLANK", "Total.BlankImpressions", Impressions;
    /// Sides on sheets that were marked on both sides.
    TwoSided = "TWO_SIDED", "Total.TwoSidedImpressions", Impressions;
    /// Sides in black on A3, Ledger or larger.
    LargeMono = "LARGE_MONO", "Total.LargeMonochromeImpressions", Impressions;
    /// Sides in colour on A3, Ledger or larger.
    LargeColor = "LARGE_COLOR", "Total.LargeFullColorImpressions", Impressions;
    /// Sheets delivered.
    Sheets = "SHEETS", "Total.TotalSheets", Sheets;
    /// Sheets that were marked on both sides.
    TwoSidedSheets = "TWO_SIDED_SHEETS", "Total.TwoSidedSheets", Sheets;
    /// Page images processed; several on one side count each.
    Images = "IMAGES", "Total.TotalImages", Images;
    /// All cycles of the engine, with tests, cleaning and jams.
    EngineCycles = "ENGINE_CYCLES", "Total.EngineCycles", Impressions;
    /// Paper jams.
    Jams = "JAMS", "Total.Jams", Events;
    /// All scanned sides.
    Scan = "SCAN", "Scan.TotalImages", Images;
    /// Sides scanned in colour.
    ScanColor = "SCAN_COLOR", "Scan.ColorImages", Images;
    /// Sides scanned through the feeder.
    ScanAdf = "SCAN_ADF", "Scan.ADFImages", Images;
    /// Sides scanned from the glass.
    ScanFlatbed = "SCAN_FLATBED", "Scan.FlatbedImages", Images;
    /// Sides scanned for copies.
    ScanCopy = "SCAN_COPY", "Scan.CopyImages", Images;
    /// Sides sent by mail.
    ScanEmail = "SCAN_EMAIL", "Scan.EmailImages", Images;
    /// Sides sent to a folder, by FTP or by HTTP.
    ScanNetwork = "SCAN_NETWORK", "Scan.NetworkImages", Images;
    /// Fax pages sent. What received faxes put on paper is in [`Meter::Total`] already.
    Fax = "FAX", "Fax.SentPages", Pages;
    /// Fax pages received.
    FaxReceived = "FAX_RECEIVED", "Fax.ReceivedPages", Pages;
    /// Sides printed for faxes; part of [`Meter::Total`], never billed beside it.
    FaxPrinted = "FAX_PRINTED", "Fax.PrintedPages", Impressions;
    /// Fax calls that failed.
    FaxFailedCalls = "FAX_FAILED_CALLS", "Fax.FailedCalls", Events;
}

impl Meter {
    /// Recognises the path of a meter and gives the instance number of its imaging service.
    ///
    /// Vendor-prefixed service objects (`Device.Services.X_00D09E_MFPService.1.…`) and the older root `InternetGatewayDevice.` are
    /// recognised as well. `None` for every other path.
    #[must_use]
    pub fn from_path(path: &str) -> Option<(Self, u32)> {
        let (instance, rest) = path::split_service(path)?;
        Some((Self::from_relative_path(rest)?, instance))
    }

    /// The canonical full path of the meter in imaging service `instance` (1 or above).
    #[must_use]
    pub fn path(self, instance: u32) -> String {
        format!("{}{instance}.{}", path::SERVICES, self.relative_path())
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of [`Meter::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown meter {0:?}")]
pub struct UnknownMeter(String);

impl FromStr for Meter {
    type Err = UnknownMeter;

    /// Reads the upper-snake name.
    fn from_str(name: &str) -> Result<Self, UnknownMeter> {
        Self::ALL
            .iter()
            .copied()
            .find(|meter| meter.name() == name)
            .ok_or_else(|| UnknownMeter(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_paths_lead_back_to_the_meter() {
        for &meter in Meter::ALL {
            assert_eq!(meter.name().parse(), Ok(meter));
            assert_eq!(Meter::from_path(&meter.path(3)), Some((meter, 3)));
        }
        let names: BTreeSet<_> = Meter::ALL.iter().map(|meter| meter.name()).collect();
        let paths: BTreeSet<_> = Meter::ALL
            .iter()
            .map(|meter| meter.relative_path())
            .collect();
        assert_eq!(
            (names.len(), paths.len()),
            (Meter::ALL.len(), Meter::ALL.len())
        );
        assert!("total".parse::<Meter>().is_err());
    }

    #[test]
    fn paths_are_recognised() {
        let check = |path: &str, expect: Option<(Meter, u32)>| {
            assert_eq!(Meter::from_path(path), expect, "{path}")
        };
        check(
            "Device.Services.MFPService.1.Counters.Total.TotalImpressions",
            Some((Meter::Total, 1)),
        );
        check(
            "Device.Services.X_00D09E_MFPService.2.Counters.Fax.SentPages",
            Some((Meter::Fax, 2)),
        );
        check(
            "Device.Services.X_EXAMPLE-COM_MFPService.1.Counters.Scan.TotalImages",
            Some((Meter::Scan, 1)),
        );
        check(
            "InternetGatewayDevice.Services.MFPService.1.Counters.Total.TotalSheets",
            Some((Meter::Sheets, 1)),
        );
        check("Device.Services.MFPService.1.Counters.Total.", None);
        check(
            "Device.Services.MFPService.1.Counters.Snapshot.4.TotalImpressions",
            None,
        );
        check(
            "Device.Services.MFPService.0.Counters.Total.TotalImpressions",
            None,
        );
        check(
            "Device.Services.MFPService.01.Counters.Total.TotalImpressions",
            None,
        );
        check(
            "Device.Services.MFPService.x.Counters.Total.TotalImpressions",
            None,
        );
        check(
            "Device.Services.X__MFPService.1.Counters.Total.TotalImpressions",
            None,
        );
        check(
            "Device.Services.YMFPService.1.Counters.Total.TotalImpressions",
            None,
        );
        check(
            "Services.MFPService.1.Counters.Total.TotalImpressions",
            None,
        );
        check("", None);
    }

    #[test]
    fn units_follow_what_is_counted() {
        assert_eq!(Meter::Total.unit().name(), "IMPRESSIONS");
        assert_eq!(Meter::Sheets.unit().name(), "SHEETS");
        assert_eq!(Meter::Scan.unit().name(), "IMAGES");
        assert_eq!(Meter::Fax.unit().name(), "PAGES");
        assert_eq!(Meter::Jams.unit().name(), "EVENTS");
    }
}
