//! The program of the extension image: copies the extension to where a server of another container sees it.
//!
//! ```text
//! copy-extension DIR      /lib/* -> DIR/lib, /share/extension/* -> DIR/share/extension
//! ```
//!
//! The control file of the copy says where its SQL files are, so a server that sees DIR at the same path needs that one file in
//! its own folder of extensions, and `dynamic_library_path = 'DIR/lib:$libdir'`. On PostgreSQL 18 also
//! `extension_control_path = 'DIR/share:$system'`, and nothing in its own folder.
//!
//! Each file is put in place by a rename: a server that has the old library mapped goes on with it.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

const FOLDERS: [&str; 2] = ["lib", "share/extension"];

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let (Some(to), None) = (arguments.next(), arguments.next()) else {
        eprintln!(
            "usage: copy-extension DIR: copies the extension into this folder, which the server has at the same path"
        );
        return ExitCode::from(2);
    };
    match copy(Path::new("/"), Path::new(&to)) {
        Ok(files) => {
            println!("copy-extension: {files} files are in {}", to.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("copy-extension: {error}");
            ExitCode::FAILURE
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<usize> {
    if !to.is_absolute() {
        return Err(io::Error::other(format!("{}: give an absolute path", to.display())));
    }
    let mut files = 0;
    for folder in FOLDERS {
        let (from, to) = (from.join(folder), to.join(folder));
        fs::create_dir_all(&to).map_err(|error| about(&to, error))?;
        for entry in fs::read_dir(&from).map_err(|error| about(&from, error))? {
            let entry = entry.map_err(|error| about(&from, error))?;
            copy_file(&entry.path(), &to).map_err(|error| about(&to, error))?;
            files += 1;
        }
    }
    Ok(files)
}

fn copy_file(file: &Path, folder: &Path) -> io::Result<()> {
    let name = file.file_name().ok_or_else(|| io::Error::other("a file without a name"))?;
    let mut content = fs::read(file)?;
    if file.extension().is_some_and(|extension| extension == "control") {
        let quoted = folder.display().to_string().replace('\'', "''");
        content.extend_from_slice(format!("directory = '{quoted}'\n").as_bytes());
    }
    let new = folder.join(format!(".{}.new", name.display()));
    fs::write(&new, content)?;
    fs::rename(&new, folder.join(name))
}

fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
