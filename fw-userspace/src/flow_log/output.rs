//! Where records go: standard output, a file, or a directory.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::files::Files;
use super::{Form, Options};
use crate::datapath::Generation;
use crate::error::{Error, Result};

/// Where records are written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// Files.
    Files(Rotation),
}

/// When another file is begun, and how many are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// A file, or a directory that gets files with names like those in an S3 bucket.
    pub path: PathBuf,
    /// A file that would be larger gets no more.
    pub size: Option<u64>,
    /// Nor one that is older; seconds.
    pub seconds: Option<u64>,
    /// Of files that get no more so many are kept.
    pub keep: Option<usize>,
}

impl Rotation {
    /// Whether the path is that of a directory, which may have to be made.
    pub fn is_directory(&self) -> bool {
        self.path.is_dir() || self.path.as_os_str().to_string_lossy().ends_with('/')
    }
}

pub(super) struct Output {
    to: To,
    /// The first line of a file.
    header: String,
    gzip: bool,
}

enum To {
    Stdout(Stream),
    Files(Files),
}

/// Of which nothing can be taken back.
struct Stream {
    file: File,
    begun: bool,
    over: bool,
    /// What is not written yet of a window.
    rest: Vec<u8>,
    /// Which window.
    of_ns: u64,
    /// Whether a part of it is written.
    is_partial: bool,
}

impl Output {
    pub(super) fn open(options: &Options) -> Result<Self> {
        let header = match options.form {
            Form::Text => format!("{}\n", options.format),
            _ => String::new(),
        };
        let fits = matches!(&options.destination, Destination::Files(rotation) if rotation.is_directory());
        if options.form.is_sealed() && (!fits || options.gzip) {
            return Err(Error::input(
                "a file of Parquet holds one window and has its own compression: name a directory, and leave --gzip out",
            ));
        }
        let to = match &options.destination {
            Destination::Stdout => To::Stdout(Stream::open()?),
            Destination::Files(rotation) => To::Files(Files::open(rotation.clone(), options, &header)?),
        };
        Ok(Self { to, header, gzip: options.gzip })
    }

    /// Files in directories have the region in their names.
    pub(super) fn name_after(&mut self, generation: &Generation) {
        if let To::Files(files) = &mut self.to {
            files.region = generation.policy.vpcs.values().find_map(|vpc| vpc.region.clone());
        }
    }

    /// Whether nobody reads any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(&self.to, To::Stdout(stream) if stream.over)
    }

    /// Writes the lines of a window, all or none: on standard output, of which nothing can be taken back, the rest later.
    pub(super) fn append(&mut self, lines: &[u8], began_ns: u64) -> Result<()> {
        let Self { to, header, gzip } = self;
        match to {
            To::Files(files) => {
                let bytes = |with_header| packed(if with_header { header } else { "" }, lines, *gzip);
                files.append(bytes, began_ns)
            }
            To::Stdout(stream) => {
                let header = if stream.begun { "" } else { header };
                stream.append(|| packed(header, lines, *gzip), began_ns)
            }
        }
    }
}

impl Stream {
    fn open() -> Result<Self> {
        // Not by way of the standard library's buffer, which would not say what was written.
        let file = std::io::stdout().as_fd().try_clone_to_owned();
        let file = file.map_err(|error| Error::system(format!("cannot use standard output: {error}")))?;
        let file = File::from(file);
        Ok(Self { file, begun: false, over: false, rest: Vec::new(), of_ns: 0, is_partial: false })
    }

    fn append(&mut self, bytes: impl FnOnce() -> Result<Vec<u8>>, began_ns: u64) -> Result<()> {
        if self.of_ns != began_ns {
            // The end of a window that was given up meanwhile is written all the same if its beginning was.
            if !self.is_partial {
                self.rest.clear();
            }
            self.rest.extend(bytes()?);
            self.of_ns = began_ns;
        }
        let before = self.rest.len();
        let written = write_some(&mut self.file, &mut self.rest);
        self.is_partial |= self.rest.len() < before;
        match written {
            Ok(()) => {
                (self.begun, self.is_partial, self.of_ns) = (true, false, 0);
                Ok(())
            }
            Err(error) => {
                self.over = error.kind() == ErrorKind::BrokenPipe;
                Err(Error::system(format!("cannot write records to standard output: {error}")))
            }
        }
    }
}

/// Takes from `rest` what could be written.
fn write_some(to: &mut impl Write, rest: &mut Vec<u8>) -> std::io::Result<()> {
    let mut done = 0;
    let result = loop {
        match rest.get(done..) {
            None | Some([]) => break to.flush(),
            Some(more) => match to.write(more) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            },
        }
    };
    rest.drain(..done);
    result
}

/// As it is written: members of gzip stand one behind the other in a file, so that it is whole after each.
pub(super) fn packed(header: &str, lines: &[u8], gzip: bool) -> Result<Vec<u8>> {
    if !gzip {
        return Ok([header.as_bytes(), lines].concat());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let bytes = encoder.write_all(header.as_bytes()).and_then(|()| encoder.write_all(lines));
    bytes.and_then(|()| encoder.finish()).map_err(|error| Error::system(format!("cannot compress: {error}")))
}
