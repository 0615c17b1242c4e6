//! The arguments of diagnostics. Devices hand them to their shells, so a host is a name or an address and nothing else, and a URL has no character that a
//! shell could take for its own (DIAG-09).

use platen_datamodel::path::Path;
use platen_proto::{
    diagnostic::{self, Given},
    operation::v1::{
        DataModelParameter, Diagnostic,
        data_model_parameter::{Format, Range},
    },
};
use std::net::{IpAddr, Ipv6Addr};

/// Longest host name, path or URL, in bytes: what the data models provide room for.
const MAX_TEXT: usize = 256;

/// What is wrong with the arguments of a diagnostic: each field below the operation, and why.
pub(crate) fn findings(diagnostic: &Diagnostic) -> Vec<(String, String)> {
    let Some((kind, arguments)) = diagnostic::asked(diagnostic) else {
        return vec![(
            "diagnostic".to_owned(),
            "needs a kind, such as ipPing".to_owned(),
        )];
    };
    let finding = |field: &diagnostic::Field| {
        let why = match field.given(&arguments) {
            None => field
                .parameter
                .required
                .then(|| "must be given".to_owned())?,
            Some(given) => unfit(&field.parameter, &given)?,
        };
        let name = field.descriptor.json_name();
        Some((format!("diagnostic.{}.{name}", kind.json_name()), why))
    };
    kind.arguments.iter().filter_map(finding).collect()
}

/// Why a parameter does not take a value.
fn unfit(parameter: &DataModelParameter, given: &Given) -> Option<String> {
    match given {
        Given::Flag(_) => None,
        Given::Number(number) => {
            let Range { min, max } = parameter.range?;
            (!(min..=max).contains(number)).then(|| format!("must be {min} to {max}"))
        }
        Given::Text(text) => unfit_text(parameter, text),
        Given::List(items) => {
            let most = usize::try_from(parameter.max_items).unwrap_or(usize::MAX);
            if items.len() > most {
                return Some(format!("must have at most {most} items"));
            }
            items.iter().find_map(|item| {
                if item.is_empty() {
                    return Some("must have no empty items".to_owned());
                }
                unfit_text(parameter, item)
            })
        }
    }
}

fn unfit_text(parameter: &DataModelParameter, text: &str) -> Option<String> {
    if !parameter.words.is_empty() {
        let words = &parameter.words;
        return (!words.iter().any(|word| word == text))
            .then(|| format!("must be one of {}", words.join(", ")));
    }
    let (fits, what) = match parameter.format() {
        // Empty stands for what the device chooses by itself.
        _ if text.is_empty() && !parameter.required => return None,
        Format::Host => (is_host(text), "a host name or an IP address"),
        Format::Address => (text.parse::<IpAddr>().is_ok(), "an IP address"),
        Format::Url => (
            is_url(text),
            "a URL with http or ftp, with neither user name nor fragment, and of characters that mean nothing to a shell",
        ),
        Format::Path => (
            is_path(text),
            "the path of an object, such as Device.IP.Interface.1",
        ),
        Format::Unspecified => (!text.chars().any(char::is_control), "plain text"),
    };
    (!fits || text.len() > MAX_TEXT)
        .then(|| format!("must be {what}, with at most {MAX_TEXT} characters"))
}

fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(is_label)
}

/// `http://host:port/path?query`; whoever asks for a password spoils the measurement (TR-143).
fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (fits_host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) => (address.parse::<Ipv6Addr>().is_ok(), port),
        Some(None) => return false,
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(end);
            (is_host(host), port)
        }
    };
    let is_port = |digits: &str| {
        digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|n| n > 0)
    };
    let fits_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/?=:@+,%".contains(&b);
    ["http", "ftp"].contains(&scheme.to_ascii_lowercase().as_str())
        && fits_host
        && fits_port
        && path.bytes().all(is_plain)
}

fn is_path(text: &str) -> bool {
    !text.contains("{i}") && text.parse::<Path>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (text, expected) in [
            ("printer-7.example.", true),
            ("localhost", true),
            ("_http._tcp.example", true),
            ("192.0.2.1", true),
            ("2001:db8::1", true),
            ("", false),
            (".", false),
            ("a..b", false),
            ("-f", false),
            ("a;reboot", false),
            ("$(reboot)", false),
            ("a b", false),
            ("http://a", false),
            ("[2001:db8::1]", false),
        ] {
            assert_eq!(is_host(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_url_has_nothing_for_a_shell() {
        for (text, expected) in [
            ("http://192.0.2.1/file.bin", true),
            ("HTTP://speed.example:8080/a/b?size=10", true),
            ("ftp://speed.example/pub/10M", true),
            ("http://[2001:db8::1]:80/x", true),
            ("http://[2001:db8::1]", true),
            ("http://speed.example", true),
            ("https://speed.example/x", false),
            ("file:///etc/passwd", false),
            ("http://", false),
            ("http:///x", false),
            ("http://user@speed.example/x", false),
            ("http://user:word@speed.example/x", false),
            ("http://a:0/x", false),
            ("http://a:65536/x", false),
            ("http://a:80x/x", false),
            ("http://[2001:db8::1/x", false),
            ("http://[2001:db8::1]80/x", false),
            ("http://a/x;reboot", false),
            ("http://a/`reboot`", false),
            ("http://a/$(reboot)", false),
            ("http://a/x&y", false),
            ("http://a/x|y", false),
            ("http://a/x y", false),
            ("http://a/x#y", false),
            ("speed.example/x", false),
        ] {
            assert_eq!(is_url(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_interface_has_its_dot_or_not() {
        for (text, expected) in [
            ("Device.IP.Interface.1", true),
            ("Device.IP.Interface.1.", true),
            ("Device.IP.Interface.{i}.", false),
            ("Device..Interface", false),
            ("eth0; reboot", false),
        ] {
            assert_eq!(is_path(text), expected, "{text:?}");
        }
    }
}
