//! Where a device's parameters are kept: rows of table `parameters`, 16 per device.

/// Rows per device; for ever.
pub const CHUNKS: u64 = 16;

/// The row in which a parameter is kept: by the object that holds it, so that the parameters of one object change together. Stable for ever.
#[must_use]
pub fn chunk(path: &str) -> u64 {
    let object = path.rfind('.').map_or("", |dot| &path[..=dot]);
    u64::from(platen_ids::shard("", object)) % CHUNKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_never_move() {
        // These values are in stored keys: a change here loses data.
        for (path, expect) in [
            ("Device.DeviceInfo.SoftwareVersion", 9),
            ("Device.DeviceInfo.SerialNumber", 9),
            (
                "Device.Services.MFPService.1.Counters.Total.TotalImpressions",
                6,
            ),
            ("NoDot", 2),
        ] {
            assert_eq!(chunk(path), expect, "{path}");
        }
    }
}
