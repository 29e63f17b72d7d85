//! The rules for files and folders of the stores on a disk, and the thread that does the work on the disk.
//!
//! A new file gets the owner and the group of its folder if the process may set them. Therefore the service can open a
//! file that a command of root has created. Links are not followed and only regular files are opened. Otherwise another
//! user who may write to the folder could redirect a write to a foreign file. That user could also stop the process
//! with a pipe or an endless device.
//!
//! The rules for owners and modes need unix. On other systems the files get the default permissions of the system, and
//! a replaced file is not noticed. There a link is refused only by the check before the opening of a file.

mod thread;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};

pub(super) use thread::DiskThread;

/// Opens an existing regular file, for `FileStore`. SQLite opens its files itself.
///
/// # Errors
///
/// [`InvalidInput`](ErrorKind::InvalidInput) if the path is a link, a folder, a pipe or a device.
#[cfg(feature = "file")]
pub(super) fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    // The type is checked before the file is opened, because opening a device can have side effects.
    check(&fs::symlink_metadata(path)?)?;
    let file = guarded(options).open(path)?;
    // The type is checked again, because another process may have replaced the file before it was opened.
    check(&file.metadata()?)?;
    Ok(file)
}

/// Opens a regular file, and creates the file if it is missing.
#[cfg(feature = "file")]
pub(super) fn open_or_create(path: &Path, options: &OpenOptions) -> io::Result<File> {
    // Two iterations are enough, unless another process creates and deletes the file all the time.
    for _ in 0..8 {
        match open(path, options) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => return done,
        }
        match create(path, options) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            done => return done,
        }
    }
    Err(io::Error::new(ErrorKind::Interrupted, "another process deletes the file all the time"))
}

/// Creates a file with the owner, the group and the mode of its folder, without the right to execute. Fails if the path
/// exists.
pub(super) fn create(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let mut options = guarded(options);
    options.create_new(true);
    #[cfg(unix)]
    options.mode(PRIVATE_FILE);
    let file = options.open(path)?;
    #[cfg(unix)]
    give_to_owner(&file, &fs::metadata(folder_of(path))?, file_mode);
    Ok(file)
}

/// Creates the folder and its missing parents, which only their owner may access. A new folder gets the owner and the
/// group of its parent if the process may set them.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    create_folder(folder_of(path))?;
    match private_folders().create(path) {
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        created => created?,
    }
    #[cfg(unix)]
    {
        // Opens the new folder without following a link, because the path may lead to another folder by now.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::DIRECTORY;
        let made = OpenOptions::new().read(true).custom_flags(flag_bits(flags)).open(path)?;
        give_to_owner(&made, &fs::metadata(folder_of(path))?, |_, _| PRIVATE_FOLDER);
    }
    Ok(())
}

/// Synchronises a folder, so that a rename or a deletion in the folder survives a power cut.
#[cfg(all(unix, feature = "file"))]
pub(super) fn synchronise(folder: &Path) -> io::Result<()> {
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NONBLOCK;
    match OpenOptions::new().read(true).custom_flags(flag_bits(flags)).open(folder)?.sync_all() {
        // Some file systems cannot synchronise a folder and report invalid input, which is no failure of the write.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synchronised => synchronised,
    }
}

/// Does nothing, because this system cannot open folders and its file systems keep the order of renames.
#[cfg(all(not(unix), feature = "file"))]
pub(super) fn synchronise(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Refuses anything that is not a regular file.
pub(super) fn check(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let problem = if metadata.is_symlink() { "a link, and links are not followed" } else { "not a file" };
    Err(io::Error::new(ErrorKind::InvalidInput, problem))
}

/// Returns true if every user of the host may write to the file or the folder.
#[cfg(unix)]
pub(super) fn is_writable_by_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & OTHERS_WRITE != 0)
}

/// Returns false, because this crate does not read permissions on this system.
#[cfg(not(unix))]
pub(super) fn is_writable_by_all(_path: &Path) -> bool {
    false
}

/// The identity of a file, by which a store notices that another file has replaced this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Returns the identity of the file with this metadata.
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Returns the same identity for all files, because this system has no inodes.
    #[cfg(not(unix))]
    pub(super) fn of(_metadata: &Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }

    /// Returns the identity of the file at the path, without following a link. `None` if there is no file.
    #[cfg(feature = "file")]
    pub(super) fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => Ok(Some(Self::of(&found?))),
        }
    }
}

/// Returns true if the file has a second name (a hard link), perhaps in another folder.
#[cfg(all(unix, feature = "file"))]
pub(super) fn has_other_names(metadata: &Metadata) -> bool {
    metadata.nlink() > 1
}

/// Returns false, because this crate cannot count the hard links of a file on this system.
#[cfg(all(not(unix), feature = "file"))]
pub(super) fn has_other_names(_metadata: &Metadata) -> bool {
    false
}

/// Returns the folder that contains the path. For a file name without a folder, this is `.`.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns a builder of folders that only their owner may access.
#[cfg(unix)]
fn private_folders() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    builder.mode(PRIVATE_FOLDER);
    builder
}

/// Returns a builder of folders with the default permissions of the system.
#[cfg(not(unix))]
fn private_folders() -> fs::DirBuilder {
    fs::DirBuilder::new()
}

/// Returns the options with flags for links and pipes. With these flags the system refuses to open a link, and does not
/// wait for the other end of a pipe.
#[cfg(unix)]
fn guarded(options: &OpenOptions) -> OpenOptions {
    let mut options = options.clone();
    options.custom_flags(flag_bits(rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK));
    options
}

/// Returns the options unchanged, because this system has no flags for links and pipes.
#[cfg(not(unix))]
fn guarded(options: &OpenOptions) -> OpenOptions {
    options.clone()
}

#[cfg(unix)]
fn flag_bits(flags: rustix::fs::OFlags) -> i32 {
    // The flags of every unix fit into 31 bits.
    i32::try_from(flags.bits()).unwrap_or_default()
}

/// Gives a new file or folder the owner and the group of its parent folder, and the mode that `mode` returns. Only root
/// may change the owner. Other users may set a group that they belong to. A refusal is no error, because the process
/// can use the file nevertheless.
#[cfg(unix)]
fn give_to_owner(made: &File, folder: &Metadata, mode: fn(u32, bool) -> u32) {
    let owner = || made.metadata().map(|made| (made.uid(), made.gid())).unwrap_or_default();
    if owner().1 != folder.gid() {
        fchown(made, None, Some(folder.gid())).ok();
    }
    // The mode is set while this process owns the file, because only the owner may set the mode without further rights.
    // This call ignores the umask, so that the service can open the file even if root has a strict umask.
    let has_group = owner().1 == folder.gid();
    made.set_permissions(fs::Permissions::from_mode(mode(folder.mode(), has_group))).ok();
    if owner().0 != folder.uid() {
        fchown(made, Some(folder.uid()), None).ok();
    }
}

/// Returns the mode of a new file, which is the mode of its folder without the right to execute.
///
/// In a folder such as `/tmp`, in which every user may create files, the file is for its owner alone. If the file has
/// another group than the folder, the group of the file gets only the rights that the mode of the folder gives to users
/// outside the group of the folder.
#[cfg(unix)]
fn file_mode(folder: u32, has_group: bool) -> u32 {
    if folder & STICKY != 0 && folder & OTHERS_WRITE != 0 {
        return PRIVATE_FILE;
    }
    let others = folder & 0o006;
    let group = if has_group { folder & 0o060 } else { others << 3 };
    PRIVATE_FILE | group | others
}

#[cfg(unix)]
const PRIVATE_FILE: u32 = 0o600;
#[cfg(unix)]
const PRIVATE_FOLDER: u32 = 0o700;
#[cfg(unix)]
const OTHERS_WRITE: u32 = 0o002;
/// The mode bit of folders in which users may delete only their own files, such as `/tmp`.
#[cfg(unix)]
const STICKY: u32 = 0o1000;

#[cfg(all(test, unix))]
mod tests {
    use super::file_mode;

    #[test]
    fn a_file_gives_others_no_right_that_its_folder_withholds() {
        for (folder, has_group, file) in [
            (0o40700, true, 0o600),
            (0o40711, true, 0o600),
            (0o40755, true, 0o644),
            (0o40750, true, 0o640),
            (0o40750, false, 0o600),
            (0o42770, true, 0o660),
            (0o42770, false, 0o600),
            (0o40777, false, 0o666),
            (0o43770, true, 0o660),
            (0o41777, true, 0o600),
            (0o41777, false, 0o600),
        ] {
            assert_eq!(file_mode(folder, has_group), file, "{folder:o}, group {has_group}");
        }
    }
}
