//! Strict reading of recorded tables: CSV, plain or gzipped, with every fault named by file, line and field.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What is wrong with what was given. Shown as one line: `file:line: field: what`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    /// The file; none for a fault in the options.
    pub file: Option<PathBuf>,
    /// Counted from 1.
    pub line: Option<u64>,
    /// The column or option.
    pub field: Option<String>,
    /// The fault, lowercase.
    pub what: String,
}

impl InputError {
    /// A fault in a file as a whole.
    pub fn in_file(file: &Path, what: impl Into<String>) -> Self {
        Self { file: Some(file.to_owned()), line: None, field: None, what: what.into() }
    }

    /// A fault in an option of the caller's.
    pub fn in_option(option: impl Into<String>, what: impl Into<String>) -> Self {
        Self { file: None, line: None, field: Some(option.into()), what: what.into() }
    }

    /// The same fault, on this line.
    #[must_use]
    pub fn at_line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// The same fault, in this column.
    #[must_use]
    pub fn in_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        // a quoted value may hold a line break; the message stays one line
        f.write_str(&self.what.replace(['\n', '\r'], " "))
    }
}

impl std::error::Error for InputError {}

/// The whole of a file as text, unpacked if it starts like gzip.
pub fn read_text(file: &Path) -> Result<String, InputError> {
    let raw = std::fs::read(file).map_err(|error| InputError::in_file(file, format!("reading: {error}")))?;
    let bytes = if raw.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        flate2::read::MultiGzDecoder::new(raw.as_slice()).read_to_end(&mut unpacked).map_err(|error| {
            let what = match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "the gzip stream is cut off here".to_owned(),
                _ => format!("unpacking the gzip stream: {error}"),
            };
            InputError::in_file(file, what).at_line(line_of(&unpacked, unpacked.len()))
        })?;
        unpacked
    } else {
        raw
    };
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        InputError::in_file(file, "not UTF-8").at_line(line_of(error.as_bytes(), at))
    })
}

/// The line, from 1, of a place in a text.
fn line_of(bytes: &[u8], at: usize) -> u64 {
    1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count() as u64
}

/// A CSV file with a header, read whole.
#[derive(Clone, Debug)]
pub struct Table {
    file: PathBuf,
    columns: Vec<String>,
    records: Vec<csv::StringRecord>,
}

impl Table {
    /// Reads `file`. Every required column must be there, once; columns that are neither required nor optional are
    /// refused, and so are rows with too few or too many fields. Lines that start with `#` are skipped.
    pub fn read(file: &Path, required: &[&str], optional: &[&str]) -> Result<Self, InputError> {
        let text = read_text(file)?;
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| fault(file, &error))?.clone();
        let line = header.position().map_or(1, csv::Position::line);
        let columns: Vec<String> = header.iter().map(str::to_owned).collect();
        let wrong = |column: &str, what: &str| InputError::in_file(file, what).at_line(line).in_field(column);
        for (at, column) in columns.iter().enumerate() {
            if !required.contains(&column.as_str()) && !optional.contains(&column.as_str()) {
                return Err(wrong(column, "unknown column"));
            }
            if columns.iter().take(at).any(|before| before == column) {
                return Err(wrong(column, "the column is there twice"));
            }
        }
        if let Some(column) = required.iter().find(|column| !columns.iter().any(|have| have == *column)) {
            return Err(wrong(column, "missing column"));
        }
        let records = reader.records().collect::<Result<_, _>>().map_err(|error| fault(file, &error))?;
        Ok(Self { file: file.to_owned(), columns, records })
    }

    /// The rows, in the order of the file.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.records.iter().map(|record| Row { table: self, record })
    }

    /// Is there such a column?
    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|have| have == column)
    }

    /// The file it came from.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

fn fault(file: &Path, error: &csv::Error) -> InputError {
    let line = error.position().map(csv::Position::line);
    let what = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, the header has {expected_len}")
        }
        _ => error.to_string(),
    };
    InputError { file: Some(file.to_owned()), line, field: None, what }
}

/// One row of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    table: &'a Table,
    record: &'a csv::StringRecord,
}

impl<'a> Row<'a> {
    /// Its line in the file, from 1.
    pub fn line(self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    /// A field without blanks around it; empty if the column is not there.
    pub fn text(self, column: &str) -> &'a str {
        let at = self.table.columns.iter().position(|have| have == column);
        at.and_then(|at| self.record.get(at)).map_or("", str::trim)
    }

    /// A field that must not be empty.
    pub fn name(self, column: &str) -> Result<&'a str, InputError> {
        match self.text(column) {
            "" => Err(self.fault(column, "empty")),
            text => Ok(text),
        }
    }

    /// A whole number from 0 to `most`.
    pub fn number(self, column: &str, most: i64) -> Result<i64, InputError> {
        let text = self.text(column);
        match text.parse::<i64>() {
            Ok(number) if number < 0 => Err(self.fault(column, format!("{number} is negative"))),
            Ok(number) if number > most => Err(self.fault(column, format!("{number} is more than {most}"))),
            Ok(number) => Ok(number),
            Err(_) if text.is_empty() => Err(self.fault(column, "empty")),
            Err(_) => Err(self.fault(column, format!("{text:?} is not a whole number"))),
        }
    }

    /// A fault in this row.
    pub fn fault(self, column: &str, what: impl Into<String>) -> InputError {
        InputError::in_file(&self.table.file, what).at_line(self.line()).in_field(column)
    }
}

/// Writes a file whole or not at all: to a temporary name beside it, then by a rename.
pub fn write_whole(file: &Path, content: &[u8]) -> Result<(), InputError> {
    use std::io::Write;
    let fault = |error: std::io::Error| InputError::in_file(file, format!("writing: {error}"));
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new().prefix(".crater-").tempfile_in(folder).map_err(fault)?;
    temporary.write_all(content).map_err(fault)?;
    temporary.persist(file).map_err(|error| fault(error.error))?;
    Ok(())
}
