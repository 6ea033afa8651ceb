//! Files of records: whole windows are appended, or nothing; full and old files make room for new ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::bufread::GzDecoder;

use super::output::Rotation;
use super::{Form, Options};
use crate::calendar;
use crate::datapath::epoch_s;
use crate::error::{Error, Result};
use crate::fnv::fnv;
use crate::same_file::has_its_name;

/// A file or a directory of files.
pub(super) struct Files {
    rotation: Rotation,
    is_directory: bool,
    account_id: String,
    /// What a flow log is known by at AWS: here a number of the directory.
    log_id: String,
    /// Of names in a directory.
    pub(super) region: Option<String>,
    extension: &'static str,
    /// One window to a file.
    is_sealed: bool,
    open: Option<Open>,
}

/// The file that is written to.
struct Open {
    file: File,
    path: PathBuf,
    size: u64,
    begun_s: u64,
}

impl Files {
    /// Opens what is there already, or sees that it can be made: what cannot be written to is to be known at once.
    pub(super) fn open(rotation: Rotation, options: &Options, header: &str) -> Result<Self> {
        let path = &rotation.path;
        let is_directory = rotation.is_directory();
        let extension = match (options.form, options.gzip) {
            (Form::Text, false) => "log",
            (Form::Text, true) => "log.gz",
            (Form::Json, false) => "jsonl",
            (Form::Json, true) => "jsonl.gz",
            #[cfg(feature = "parquet")]
            (Form::Parquet, _) => "parquet",
        };
        let mut files = Self {
            is_directory,
            account_id: options.account_id.clone(),
            log_id: log_id(path),
            region: None,
            extension,
            is_sealed: options.form.is_sealed(),
            open: None,
            rotation,
        };
        if files.is_directory {
            files.try_directory()?;
            return Ok(files);
        }
        let path = files.rotation.path.clone();
        let was_there = path.exists();
        let mut open = Open::at(&path).map_err(|error| cannot("open", &path, &error))?;
        open.repair(options.gzip).map_err(|error| cannot("read", &path, &error))?;
        let is_ours = open.size == 0 || open.begins_with(header, options.gzip);
        files.open = Some(open);
        if !was_there {
            files.remove_empty();
        } else if !is_ours {
            files.put_aside()?;
        }
        Ok(files)
    }

    /// Appends bytes, all or none. `bytes` makes them, for the beginning of a file or not.
    pub(super) fn append(&mut self, bytes: impl Fn(bool) -> Result<Vec<u8>>, began_ns: u64) -> Result<()> {
        self.notice_removal();
        let mut made = bytes(self.open.as_ref().is_none_or(|open| open.size == 0))?;
        let is_due = self.open.as_ref().is_some_and(|open| self.is_due(open, made.len() as u64));
        if is_due {
            self.put_aside()?;
            made = bytes(true)?;
        }
        if self.open.is_none() {
            let path = self.next_path(began_ns);
            self.open = Some(Open::at(&path).map_err(|error| cannot("open", &path, &error))?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let appended = open.append(&made).map_err(|error| cannot("write records to", &open.path, &error));
        if appended.is_err() && open.size == 0 {
            self.remove_empty();
        }
        appended
    }

    /// Whether the file gets no more.
    fn is_due(&self, open: &Open, more: u64) -> bool {
        let is_full = self.rotation.size.is_some_and(|size| open.size + more > size);
        let age = epoch_s().saturating_sub(open.begun_s);
        open.size > 0
            && (self.is_sealed || is_full || self.rotation.seconds.is_some_and(|seconds| age >= seconds))
    }

    /// Ends the file, under a name of its own.
    fn put_aside(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if !self.is_directory {
            let aside = (1..).map(|number| self.aside(number)).find(|aside| !aside.exists());
            if let Some(aside) = aside
                && let Err(error) = fs::rename(&open.path, aside)
            {
                let error = cannot("rename", &open.path, &error);
                self.open = Some(open);
                return Err(error);
            }
        }
        self.remove_oldest();
        Ok(())
    }

    /// A file is made with its first window: an empty one is no gzip.
    fn remove_empty(&mut self) {
        if let Some(open) = self.open.take() {
            let _ = fs::remove_file(&open.path);
        }
    }

    /// Somebody may have moved or removed the file (logrotate).
    fn notice_removal(&mut self) {
        if !self.open.as_ref().is_some_and(|open| has_its_name(&open.file, &open.path)) {
            self.open = None;
        }
    }

    fn next_path(&self, began_ns: u64) -> PathBuf {
        if !self.is_directory {
            return self.rotation.path.clone();
        }
        let stamp = calendar::stamp(began_ns / 1_000_000_000);
        let minute = stamp.get(..13).unwrap_or(&stamp);
        let (account, region) = (&self.account_id, self.region.as_deref().unwrap_or("local"));
        let region = region.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-");
        let hash = fnv(&began_ns.to_le_bytes()) as u32;
        let Self { log_id, extension, .. } = self;
        let name = format!("{account}_vpcflowlogs_{region}_{log_id}_{minute}Z_{hash:08x}.{extension}");
        self.rotation.path.join(name)
    }

    /// `flows-20261124T163722Z.log.gz` beside `flows.log.gz`.
    fn aside(&self, number: u32) -> PathBuf {
        let (stem, extension) = self.parts();
        let stamp = calendar::stamp(epoch_s());
        let number = if number > 1 { format!("-{number}") } else { String::new() };
        self.rotation.path.with_file_name(format!("{stem}-{stamp}{number}{extension}"))
    }

    /// The name of the file up to its first dot, and from there on.
    fn parts(&self) -> (String, String) {
        let name = self.rotation.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let dot = name.get(1..).and_then(|rest| rest.find('.')).map_or(name.len(), |dot| dot + 1);
        let (stem, extension) = name.split_at(dot);
        (stem.to_owned(), extension.to_owned())
    }

    /// Keeps so many of the files that get no more.
    fn remove_oldest(&self) {
        let Some(keep) = self.rotation.keep else { return };
        let directory =
            if self.is_directory { Some(self.rotation.path.as_path()) } else { self.rotation.path.parent() };
        let directory = directory.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (stem, extension) = self.parts();
        let is_ours = |name: &str| {
            if self.is_directory {
                return name.contains(&format!("_{}_", self.log_id)) && name.ends_with(self.extension);
            }
            let middle =
                name.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(&extension));
            middle.is_some_and(calendar::is_stamped)
        };
        let names = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut ended: Vec<(SystemTime, PathBuf)> = names
            .filter(|entry| entry.file_name().to_str().is_some_and(is_ours))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        ended.sort_unstable();
        for (_, path) in ended.iter().take(ended.len().saturating_sub(keep)) {
            let _ = fs::remove_file(path);
        }
    }

    fn try_directory(&self) -> Result<()> {
        let path = &self.rotation.path;
        fs::create_dir_all(path).map_err(|error| cannot("create", path, &error))?;
        let probe = path.join(format!(".{}-{}", self.log_id, std::process::id()));
        File::create(&probe).map_err(|error| cannot("write to the directory", path, &error))?;
        fs::remove_file(&probe).map_err(|error| cannot("write to the directory", path, &error))
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file; `-` is standard output"));
        }
        let begun = metadata.created().or_else(|_| metadata.modified()).unwrap_or_else(|_| SystemTime::now());
        let begun_s = begun.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(Self { file, path: path.to_owned(), size: metadata.len(), begun_s })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        if written.is_err() {
            // What was written of them: the file ends with a whole window again. That needs no space.
            self.file.set_len(self.size)?;
        } else {
            self.size += bytes.len() as u64;
        }
        written
    }

    /// Takes off what a writer has left that was killed in the middle of a line, or of a member of gzip.
    fn repair(&mut self, gzip: bool) -> io::Result<()> {
        let whole = if gzip { self.whole_members()? } else { self.whole_lines()? };
        if whole < self.size {
            self.file.set_len(whole)?;
            self.size = whole;
        }
        Ok(())
    }

    fn whole_lines(&mut self) -> io::Result<u64> {
        const PIECE: u64 = 64 << 10;
        let mut end = self.size;
        while end > 0 {
            let start = end.saturating_sub(PIECE);
            self.file.seek(SeekFrom::Start(start))?;
            let mut piece = vec![0; (end - start) as usize];
            self.file.read_exact(&mut piece)?;
            if let Some(last) = piece.iter().rposition(|byte| *byte == b'\n') {
                return Ok(start + last as u64 + 1);
            }
            end = start;
        }
        Ok(0)
    }

    fn whole_members(&mut self) -> io::Result<u64> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(&self.file);
        let mut whole = 0;
        while !reader.fill_buf()?.is_empty() {
            let mut member = GzDecoder::new(reader);
            if io::copy(&mut member, &mut io::sink()).is_err() {
                break;
            }
            reader = member.into_inner();
            whole = reader.stream_position()?;
        }
        Ok(whole)
    }

    /// Whether the file has these fields in this order.
    fn begins_with(&self, header: &str, gzip: bool) -> bool {
        let Ok(file) = File::open(&self.path) else { return false };
        let mut start = vec![0; header.len()];
        let read = if gzip {
            GzDecoder::new(BufReader::new(file)).read_exact(&mut start)
        } else {
            BufReader::new(file).read_exact(&mut start)
        };
        read.is_ok() && start == header.as_bytes()
    }
}

fn log_id(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("fl-{:016x}0", fnv(absolute.as_os_str().as_encoded_bytes()))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::system(format!("cannot {what} \"{}\": {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::output::packed;
    use super::*;

    struct Temporary(PathBuf);

    impl Temporary {
        fn with(name: &str, bytes: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("fwctl-{name}-{}", std::process::id()));
            fs::write(&path, bytes).unwrap();
            Self(path)
        }

        /// What is left of it once it is opened.
        fn repaired(&self, gzip: bool) -> Vec<u8> {
            Open::at(&self.0).unwrap().repair(gzip).unwrap();
            fs::read(&self.0).unwrap()
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_taken_off() {
        let long = "x".repeat(200_000);
        for (text, whole) in [
            (String::new(), String::new()),
            ("one\ntwo\n".to_owned(), "one\ntwo\n".to_owned()),
            ("one\ntw".to_owned(), "one\n".to_owned()),
            (format!("one\n{long}"), "one\n".to_owned()),
            (long, String::new()),
        ] {
            assert_eq!(Temporary::with("lines", text.as_bytes()).repaired(false), whole.as_bytes());
        }
    }

    #[test]
    fn a_member_that_was_cut_off_is_taken_off() {
        let members = [packed("a b\n", b"1 2\n", true).unwrap(), packed("", b"3 4\n", true).unwrap()];
        let whole = members.concat();
        let cut = |length: usize| Temporary::with("members", &whole[..length]).repaired(true).len();
        assert_eq!(cut(whole.len()), whole.len());
        for length in members[0].len()..whole.len() {
            assert_eq!(cut(length), members[0].len(), "{length}");
        }
        assert_eq!(cut(members[0].len() - 1), 0);
        let file = Temporary::with("header", &whole);
        let open = Open::at(&file.0).unwrap();
        assert!(open.begins_with("a b\n", true) && !open.begins_with("a c\n", true));
    }

    #[test]
    fn what_cannot_be_appended_leaves_the_file_as_it_was() {
        let file = Temporary::with("append", b"one\n");
        let mut open = Open::at(&file.0).unwrap();
        // Not to be written to: any write fails.
        open.file = File::open(&file.0).unwrap();
        assert!(open.append(b"two\n").is_err());
        assert_eq!((fs::read(&file.0).unwrap(), open.size), (b"one\n".to_vec(), 4));
    }
}
