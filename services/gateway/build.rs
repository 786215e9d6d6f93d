//! Gathers the console's built files into a table that the gateway embeds. Where the console was not built (no Node.js),
//! a page that says so stands in, so that the mesh builds and runs without it.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const STAND_IN: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Crater</title>\n\
<p>The gateway runs, but it was built without the console. Build <code>services/gateway/console</code> \
(<code>npm ci &amp;&amp; npm run build</code>), then the gateway again.</p>\n</html>\n";

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let dist = root.join("console/dist");
    // Cargo takes a path that is not there for a changed one, so a console that is built later is seen.
    println!("cargo:rerun-if-changed={}", dist.display());

    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        collect(&dist, &dist, &mut files)?;
    } else {
        let page = out.join("index.html");
        fs::write(&page, STAND_IN)?;
        files.push(("/index.html".to_owned(), page));
    }
    files.sort();

    let mut table = String::from("&[\n");
    for (path, file) in files {
        let bytes = fs::read(&file)?;
        let mut hash = DefaultHasher::new();
        bytes.hash(&mut hash);
        let tag = format!("\"{:016x}\"", hash.finish());
        writeln!(
            table,
            "File {{ path: {path:?}, etag: {tag:?}, bytes: include_bytes!({:?}) }},",
            file.display().to_string()
        )
        .map_err(io::Error::other)?;
    }
    table.push(']');
    fs::write(out.join("console.rs"), table)
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if let Ok(relative) = path.strip_prefix(root) {
            files.push((format!("/{}", relative.display()), path));
        }
    }
    Ok(())
}
