//! The live table: redrawn in place on a terminal, silent in a pipe but for what is said once.

use super::Row;
use jiff::Timestamp;
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// Where the demonstration is seen.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    /// Lines of the table as it was drawn last; they are overwritten.
    drawn: std::sync::atomic::AtomicUsize,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            drawn: 0.into(),
        }
    }

    /// Says something once; the table goes on below it.
    pub(super) fn say(&self, text: &str) -> io::Result<()> {
        // In a pipe the table comes once, whatever is said after it.
        if self.terminal {
            self.drawn.store(0, std::sync::atomic::Ordering::Relaxed);
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Warns on standard error.
    pub(super) fn warn(&self, text: &str) {
        // Nothing is left to be done if even this cannot be written.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Draws the table; in a pipe only once every printer has a reading.
    pub(super) fn draw(&self, rows: &[Row], elapsed: Duration) -> io::Result<()> {
        let complete = rows.iter().all(|row| row.total.is_some());
        let first = self.drawn.load(std::sync::atomic::Ordering::Relaxed) == 0;
        if !(self.terminal || complete && first) {
            return Ok(());
        }
        let table = table(rows, elapsed, Timestamp::now());
        let lines = table.lines().count();
        let before = self.drawn.swap(lines, std::sync::atomic::Ordering::Relaxed);
        let mut out = io::stdout().lock();
        if self.terminal && before > 0 {
            // Up to the table's first line, and away with everything below.
            write!(out, "\x1b[{before}A\x1b[J")?;
        }
        out.write_all(table.as_bytes())?;
        out.flush()
    }
}

fn table(rows: &[Row], elapsed: Duration, now: Timestamp) -> String {
    let headings = [
        "PRINTER",
        "STATUS",
        "SUPPLIES %",
        "TOTAL",
        "FIRMWARE",
        "SEEN",
    ]
    .map(str::to_owned);
    let mut lines = vec![headings.to_vec()];
    lines.extend(rows.iter().map(|row| cells(row, now)));
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    let metered = rows.iter().filter(|row| row.total.is_some()).count();
    text.push_str(&format!(
        "{metered} of {} metered after {} s\n",
        rows.len(),
        elapsed.as_secs()
    ));
    text
}

fn cells(row: &Row, now: Timestamp) -> Vec<String> {
    if !row.is_managed() {
        let state = if row.state.is_empty() {
            "waiting …"
        } else {
            row.state.as_str()
        };
        let mut cells = vec![row.printer.clone(), state.to_owned()];
        cells.resize(6, String::new());
        return cells;
    }
    let supply = |(name, level): &(String, i64)| {
        let short: String = name.chars().take(7).collect();
        if *level < 0 {
            format!("{short} ?")
        } else {
            format!("{short} {level}")
        }
    };
    let seen = row.last_inform.map_or_else(String::new, |time| {
        format!("{} s ago", (now.as_second() - time.as_second()).max(0))
    });
    vec![
        row.printer.clone(),
        printable(&row.status, 34),
        row.supplies
            .iter()
            .map(supply)
            .collect::<Vec<_>>()
            .join(", "),
        row.total
            .map_or_else(String::new, |total| total.to_string()),
        printable(&row.firmware, 20),
        seen,
    ]
}

/// What a printer says, without what could steer the terminal, and no longer than so many characters.
fn printable(text: &str, most: usize) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(most)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_who_is_there_and_who_is_awaited() {
        let seen = Row {
            printer: "HP M4512 CNBR1".into(),
            state: "ACTIVE".into(),
            status: "Operational".into(),
            supplies: vec![("Black".into(), 64), ("Waste".into(), -1)],
            total: Some(84_210),
            firmware: "5.11".into(),
            last_inform: Some("2026-11-23T08:00:00Z".parse().unwrap()),
            ..Row::default()
        };
        let awaited = Row {
            printer: "RICOH".into(),
            ..Row::default()
        };

        let text = table(
            &[seen, awaited],
            Duration::from_secs(7),
            "2026-11-23T08:00:03Z".parse().unwrap(),
        );

        let expect = "PRINTER         STATUS       SUPPLIES %         TOTAL  FIRMWARE  SEEN\n\
                      HP M4512 CNBR1  Operational  Black 64, Waste ?  84210  5.11      3 s ago\n\
                      RICOH           waiting …\n\
                      1 of 2 metered after 7 s\n";
        assert_eq!(text, expect);
    }
}
