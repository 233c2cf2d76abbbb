//! The rows, as a table for people and as JSON.

use std::path::Path;

use serde_json::{Value, json};

/// One line of the report.
struct Row {
    what: String,
    goal: String,
    measured: String,
    /// None: nothing to meet, or it could not be measured.
    met: Option<bool>,
    numbers: Value,
}

/// All lines.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// A fact about the machine, with no goal.
    pub(crate) fn fact(&mut self, what: &str, measured: String, numbers: Value) {
        self.add(Row { what: what.to_owned(), goal: String::new(), measured, met: None, numbers });
    }

    /// A row with a goal.
    pub(crate) fn goal(&mut self, what: &str, goal: &str, measured: String, met: bool, numbers: Value) {
        let (what, goal) = (what.to_owned(), goal.to_owned());
        self.add(Row { what, goal, measured, met: Some(met), numbers });
    }

    /// A row that could not be measured here.
    pub(crate) fn skipped(&mut self, what: &str, goal: &str, why: &str) {
        let (what, goal) = (what.to_owned(), goal.to_owned());
        let measured = format!("SKIPPED: {why}");
        self.add(Row { what, goal, measured, met: None, numbers: Value::Null });
    }

    fn add(&mut self, row: Row) {
        eprintln!("  {}: {}", row.what, row.measured);
        self.rows.push(row);
    }

    /// Prints the table and writes `path` (JSON) and the same with `.txt`.
    pub(crate) fn write(&self, path: &Path) {
        let table = self.table();
        print!("{table}");
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        let unmet = self.rows.iter().filter(|row| row.met == Some(false)).count();
        let document = json!({"rows": rows, "unmet": unmet});
        std::fs::write(path, format!("{document:#}\n")).expect("the report can be written");
        std::fs::write(path.with_extension("txt"), table).expect("the table can be written");
    }

    fn table(&self) -> String {
        let width = |text: fn(&Row) -> &str| self.rows.iter().map(|row| text(row).chars().count()).max();
        let (what, goal) = (width(|row| &row.what).unwrap_or(0), width(|row| &row.goal).unwrap_or(0));
        let mut table = format!("{:what$}  {:goal$}  {:3}  measured\n", "what", "goal", "met");
        for row in &self.rows {
            let met = row.met.map_or("", |met| if met { "yes" } else { "NO" });
            table += &format!("{:what$}  {:goal$}  {met:3}  {}\n", row.what, row.goal, row.measured);
        }
        table
    }
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "what": self.what, "goal": self.goal, "measured": self.measured, "met": self.met,
            "numbers": self.numbers,
        })
    }
}
