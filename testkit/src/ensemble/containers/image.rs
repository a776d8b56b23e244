//! What containers are made from.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fmt, fs};

use sha1::{Digest as _, Sha1};
use testcontainers::core::BuildImageOptions;
use testcontainers::runners::AsyncBuilder as _;
use testcontainers::{GenericBuildableImage, GenericImage};

use super::error::{ContainerError, failed};

/// What images of binaries are called; the tag is a digest of their content.
const REPOSITORY: &str = "zk-testkit/zkserver";

/// The libraries are where they are on this machine: none, if the binary is linked statically.
const DOCKERFILE: &str = "\
FROM scratch
LABEL zk-testkit=server
COPY root /
EXPOSE 2181 2888 3888
ENTRYPOINT [\"/zkserver\", \"start-foreground\", \"/conf/zoo.cfg\"]
";

/// What servers in containers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image(Source);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Binary(PathBuf),
    Named(String),
}

impl Image {
    /// An image of this `zkserver` binary, with the libraries that it needs and nothing else; built
    /// when it is first used. Tests of the binary's package know it as `env!("CARGO_BIN_EXE_zkserver")`.
    pub fn of(binary: impl Into<PathBuf>) -> Self {
        Self(Source::Binary(binary.into()))
    }

    /// A published image, as `docker pull` takes its name, pulled when it is first used: `zookeeper:3.9`,
    /// or another one that the variables of Docker's official image configure.
    pub fn named(name: impl Into<String>) -> Self {
        Self(Source::Named(name.into()))
    }

    /// Whether it is configured by variables, and not by a file.
    pub(super) fn is_published(&self) -> bool {
        matches!(self.0, Source::Named(_))
    }

    /// The image as containers are started from; one of a binary is built unless the engine has it.
    pub(super) async fn prepare(&self) -> Result<GenericImage, ContainerError> {
        match &self.0 {
            Source::Named(name) => {
                let (name, tag) = name_and_tag(name);
                Ok(GenericImage::new(name, tag))
            }
            Source::Binary(binary) => {
                let binary = binary.clone();
                let context = tokio::task::spawn_blocking(move || Context::of(&binary));
                context
                    .await
                    .expect("reading files does not panic")?
                    .build()
                    .await
            }
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Binary(path) => path.display().fmt(f),
            Source::Named(name) => f.write_str(name),
        }
    }
}

/// `registry:5000/name:tag` in two; the tag is `latest` unless told otherwise.
fn name_and_tag(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        Some(_) | None => (image, "latest"),
    }
}

/// What an image of a binary is built from.
#[derive(Debug)]
struct Context {
    /// Files, and their places in the image.
    files: Vec<(PathBuf, String)>,
    tag: String,
}

impl Context {
    fn of(binary: &Path) -> Result<Self, ContainerError> {
        let mut files = vec![(binary.to_path_buf(), "/zkserver".to_owned())];
        for library in libraries(binary)? {
            let place = library.display().to_string();
            files.push((library, place));
        }
        let mut digest = Sha1::new();
        digest.update(DOCKERFILE);
        for (path, place) in &files {
            digest.update(place);
            digest.update(fs::read(path).map_err(unfit(path))?);
        }
        let tag = digest.finalize();
        let tag = tag.iter().take(8).map(|byte| format!("{byte:02x}"));
        Ok(Self {
            files,
            tag: tag.collect(),
        })
    }

    async fn build(self) -> Result<GenericImage, ContainerError> {
        let mut image = GenericBuildableImage::new(REPOSITORY, self.tag);
        image = image.with_dockerfile_string(DOCKERFILE);
        for (path, place) in self.files {
            image = image.with_file(path, format!("./root{place}"));
        }
        let options = BuildImageOptions::new().with_skip_if_exists(true);
        let built = image.build_image_with(options).await;
        built.map_err(failed("building an image"))
    }
}

/// The shared libraries that a binary needs, its loader among them.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>, ContainerError> {
    fs::metadata(binary).map_err(unfit(binary))?;
    let ldd = Command::new("ldd").arg(binary).output();
    // It fails, and lists nothing, for what is linked statically.
    let listed = ldd.map_err(unfit(binary))?.stdout;
    listed_libraries(&String::from_utf8_lossy(&listed)).map_err(unfit(binary))
}

/// The files in the output of `ldd`.
fn listed_libraries(listed: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in listed.lines() {
        let place = line.split_once("=> ").map_or(line, |(_, place)| place);
        let place = place.trim();
        if place.starts_with("not found") {
            return Err(io::Error::other(format!("no library for {}", line.trim())));
        }
        if place.starts_with('/') {
            let end = place.rfind(" (").unwrap_or(place.len());
            found.extend(place.get(..end).map(PathBuf::from));
        }
    }
    Ok(found)
}

fn unfit(path: &Path) -> impl FnOnce(io::Error) -> ContainerError {
    let path = path.to_path_buf();
    move |source| ContainerError::Binary { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_an_image_is_behind_its_last_colon() {
        assert_eq!(name_and_tag("zookeeper:3.9"), ("zookeeper", "3.9"));
        assert_eq!(name_and_tag("zookeeper"), ("zookeeper", "latest"));
        let own = name_and_tag("registry.example:5000/infra/zookeeper");
        assert_eq!(own, ("registry.example:5000/infra/zookeeper", "latest"));
        let own = name_and_tag("registry.example:5000/infra/zookeeper:3.8.4");
        assert_eq!(own, ("registry.example:5000/infra/zookeeper", "3.8.4"));
    }

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2c)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f2d)\n";
        let found = listed_libraries(said).expect("all are there");
        let wanted = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(found, wanted.map(PathBuf::from));
        let none = listed_libraries("\tstatically linked\n").expect("none");
        assert_eq!(none, Vec::<PathBuf>::new());
        listed_libraries("\tlibodd.so => not found\n").expect_err("one is missing");
    }

    #[test]
    fn a_binary_that_is_not_there_is_named() {
        let error = Context::of(Path::new("/nowhere/zkserver")).expect_err("there is none");
        assert_eq!(
            error.to_string(),
            "cannot put /nowhere/zkserver into an image"
        );
    }
}
