//! A repository folder that a team shares: what somebody else has put into `metadata/` is never read on his behalf.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use tufagent_tests::{Agent, Home, Published, binary, is_root};

/// Nobody's id, and a group that the configuration admits.
const OTHER: u32 = 65_534;
const GROUP: &str = "54321";
const SECRET: &str = "of the publisher alone\n";

/// A published repository whose next publication swaps `metadata/`: a root with other online keys is staged.
fn about_to_swap(home: &Home) -> Published {
    let repo = home.published_repository();
    home.keys(&["later"]);
    home.run("root replace-key repo timestamp --old online --new later --yes").done();
    repo
}

#[test]
fn pipes_and_sockets_beside_the_metadata_are_refused_before_anything_is_signed() {
    let (home, _agent) = Home::unlocked();
    let repo = about_to_swap(&home);
    let signed = home.journalled("sign.intent").len();
    for place in ["metadata/odd", "metadata/below/odd"] {
        let odd = repo.dir().join(place);
        fs::create_dir_all(odd.parent().unwrap()).unwrap();
        assert!(Command::new("mkfifo").arg(&odd).status().unwrap().success());
        for kind in ["a pipe", "a socket"] {
            let error = home.refused("sign repo --yes", 3, "REPOSITORY_INVALID");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(place) && message.contains(kind), "{error}");
            assert!(error["remedy"].as_str().unwrap().contains("take it away"), "{error}");
            let _ = fs::remove_file(&odd);
            if kind == "a pipe" {
                drop(std::os::unix::net::UnixListener::bind(&odd).unwrap());
            }
        }
    }
    assert_eq!(home.journalled("sign.intent").len(), signed);
    // Links of one's own stay what they are, wherever they lead; so do folders.
    let outside = home.write("notes.txt", "notes\n");
    symlink(&outside, repo.dir().join("metadata/notes.txt")).unwrap();
    symlink("../1.root.json", repo.dir().join("metadata/below/first.json")).unwrap();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("root"), 2);
    assert_eq!(fs::read_link(repo.dir().join("metadata/notes.txt")).unwrap(), outside);
    let first = repo.dir().join("metadata/below/first.json");
    assert_eq!(fs::read_link(first).unwrap(), Path::new("../1.root.json"));
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn a_copy_of_a_target_is_for_nobody_else_to_read_before_it_is_known_to_be_what_was_signed() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let targets = repo.dir().join("targets");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let published = |name: &str| {
        let is_it = |file: &String| file.ends_with(&format!(".{name}"));
        targets.join(repo.names("targets").into_iter().find(is_it).unwrap())
    };
    let usual = mode(&published("app.txt"));
    assert_ne!(usual & 0o044, 0, "the umask of these tests hides files from others");
    let waiting = targets.join(".tufctl.tmp.0");
    let content = "large\n".repeat(1 << 20);
    home.write("large.bin", &content);
    home.run("target add repo large.bin").done();
    // It ends in the middle of the copy.
    let mut command = Command::new("bash");
    home.environment(&mut command);
    command.args(["-c", "ulimit -c 0 -f 1024; exec \"$0\" sign repo --yes --quiet"]).arg(binary("tufctl"));
    assert!(!command.status().unwrap().success());
    let part = fs::metadata(&waiting).unwrap();
    assert!((1..6 << 20).contains(&part.len()), "{}", part.len());
    assert_eq!(part.mode() & 0o077, 0, "{:o}", part.mode());
    home.run("sign repo --yes").done();
    assert_eq!(mode(&published("large.bin")), usual);
    assert_eq!(fs::read_to_string(published("large.bin")).unwrap(), content);
    // It ended when the copy was whole, and nobody else could read it yet.
    home.write("next.bin", "next\n");
    home.run("target add repo next.bin").done();
    fs::write(&waiting, "next\n").unwrap();
    fs::set_permissions(&waiting, fs::Permissions::from_mode(0o600)).unwrap();
    home.run("sign repo --yes").done();
    assert_eq!(mode(&published("next.bin")), usual);
    assert!(!waiting.exists());
}

/// A repository in a folder of another user's, whose program works at the agent's.
struct Shared {
    home: Home,
    repo: Published,
    _agent: Agent,
}

impl Shared {
    fn new() -> Self {
        let home = Home::new();
        home.config(&format!("allow_groups = [{GROUP}]"));
        let agent = home.start();
        home.unlock_file_store();
        let repo = about_to_swap(&home);
        fs::copy(binary("tufctl"), home.path("tufctl")).unwrap();
        home.write("secret", SECRET);
        fs::set_permissions(home.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        chown(home.path("secret"), Some(OTHER), Some(OTHER)).unwrap();
        for folder in [home.dir().to_path_buf(), home.dir().join("run"), home.path("")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let given = Command::new("chown").args(["-R", &OTHER.to_string()]).arg(repo.dir()).status();
        assert!(given.unwrap().success());
        Self { home, repo, _agent: agent }
    }

    /// What the other user's `tufctl sign` comes to; it is killed if it hangs.
    fn sign(&self) -> Output {
        self.run("sign repo --yes --json")
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new("timeout");
        self.home.environment(&mut command);
        let id = OTHER.to_string();
        command.args(["20", "setpriv", "--reuid", &id, "--regid", &id, "--groups", GROUP]);
        command.arg(self.home.path("tufctl")).args(arguments.split(' ')).arg("--socket");
        command.arg(self.home.socket()).output().unwrap()
    }

    fn metadata(&self, name: &str) -> std::path::PathBuf {
        self.repo.dir().join("metadata").join(name)
    }
}

#[test]
fn a_link_of_a_co_writer_is_not_followed_to_what_only_the_publisher_may_read() {
    if !is_root() {
        println!("SKIPPED: only root can become another user; run the tests as root once");
        return;
    }
    let shared = Shared::new();
    // Its owner is who runs the tests: to the publisher somebody else.
    let (link, home) = (shared.metadata("zz.txt"), &shared.home);
    symlink(home.path("secret"), &link).unwrap();
    let signed = home.journalled("sign.intent").len();
    let refused = shared.sign();
    let told = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(told.contains("zz.txt is a link") && told.contains("take it away"), "{told}");
    assert_eq!(home.journalled("sign.intent").len(), signed);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // The publisher's own link is carried along as a link, and one to a name beside it whoever made it.
    lchown(&link, Some(OTHER), Some(OTHER)).unwrap();
    symlink("1.root.json", shared.metadata("first.json")).unwrap();
    // So are files of others, as copies where they cannot have a second name; nobody else may read those.
    fs::write(shared.metadata("theirs.txt"), "theirs\n").unwrap();
    fs::set_permissions(shared.metadata("theirs.txt"), fs::Permissions::from_mode(0o604)).unwrap();
    let done = shared.sign();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(shared.repo.version("root"), 2);
    assert_eq!(fs::read_link(&link).unwrap(), home.path("secret"));
    assert_eq!(fs::read_link(shared.metadata("first.json")).unwrap(), Path::new("1.root.json"));
    assert_eq!(fs::read_to_string(shared.metadata("theirs.txt")).unwrap(), "theirs\n");
    let copy = fs::metadata(shared.metadata("theirs.txt")).unwrap();
    assert_eq!(copy.mode() & 0o777, 0o604, "owner {}", copy.uid());
}

#[test]
fn a_link_of_a_co_writer_in_place_of_metadata_is_not_read_through() {
    if !is_root() {
        println!("SKIPPED: only root can become another user; run the tests as root once");
        return;
    }
    let shared = Shared::new();
    let (home, dir) = (&shared.home, shared.repo.dir());
    for place in
        ["staged/root.json", "staged/repository.json", "metadata/timestamp.json", "metadata/1.root.json"]
    {
        let (link, kept) = (dir.join(place), home.path("kept.json"));
        fs::rename(&link, &kept).unwrap();
        symlink(&kept, &link).unwrap();
        let refused = shared.sign();
        let told = String::from_utf8(refused.stdout).unwrap();
        assert_eq!(refused.status.code(), Some(3), "{place}: {told}");
        assert!(told.contains("is a link") && told.contains("take it away"), "{place}: {told}");
        fs::remove_file(&link).unwrap();
        fs::rename(&kept, &link).unwrap();
    }
    let (names, kept) = (dir.join(".key-names.json"), home.path("names.json"));
    fs::rename(&names, &kept).unwrap();
    symlink(home.path("secret"), &names).unwrap();
    let told = String::from_utf8(shared.sign().stdout).unwrap();
    assert!(told.contains(".key-names.json is a link"), "{told}");
    fs::remove_file(&names).unwrap();
    fs::rename(&kept, &names).unwrap();
    // So it is for those who only read; whoever owns the folder may have put a link there.
    let (link, kept) = (dir.join("metadata/timestamp.json"), home.path("kept.json"));
    fs::rename(&link, &kept).unwrap();
    symlink(&kept, &link).unwrap();
    let verify = "verify repo --root repo/metadata/1.root.json --json";
    for (command, owner, code) in [(verify, 0, 6), ("lint repo --json", 0, 6), (verify, OTHER, 0)] {
        lchown(&link, Some(owner), Some(owner)).unwrap();
        let done = shared.run(command);
        let told = String::from_utf8(done.stdout).unwrap();
        assert_eq!(done.status.code(), Some(code), "{command}: {told}");
        assert_eq!(told.contains("a link of another user's"), code == 6, "{command}: {told}");
    }
    fs::remove_file(&link).unwrap();
    fs::rename(&kept, &link).unwrap();
    // One's own is followed, and one to a name beside it.
    let (link, kept) = (dir.join("staged/root.json"), home.path("kept.json"));
    fs::rename(&link, &kept).unwrap();
    symlink(&kept, &link).unwrap();
    lchown(&link, Some(OTHER), Some(OTHER)).unwrap();
    fs::rename(dir.join("metadata/timestamp.json"), dir.join("metadata/time.json")).unwrap();
    symlink("time.json", dir.join("metadata/timestamp.json")).unwrap();
    let done = shared.sign();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(shared.repo.version("root"), 2);
}

#[test]
fn a_pipe_of_a_co_writer_is_refused_and_not_waited_for() {
    if !is_root() {
        println!("SKIPPED: only root can become another user; run the tests as root once");
        return;
    }
    let shared = Shared::new();
    let pipe = shared.metadata("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let refused = shared.sign();
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stdout));
    fs::remove_file(&pipe).unwrap();
    // A file that may not be read cannot be carried along; this too is found before anything is signed.
    let closed = shared.metadata("closed");
    fs::write(&closed, "closed\n").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o600)).unwrap();
    let signed = shared.home.journalled("sign.intent").len();
    let refused = shared.sign();
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stdout));
    assert_eq!(shared.home.journalled("sign.intent").len(), signed);
    fs::remove_file(&closed).unwrap();
    assert!(shared.sign().status.success());
}

#[test]
fn a_strangers_link_in_the_place_of_a_target_is_followed_within_the_repository_alone() {
    if !is_root() {
        println!("SKIPPED: only root can give a link to another user; run the tests as root once");
        return;
    }
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let targets = repo.dir().join("targets");
    let place = targets.join(&repo.names("targets")[0]);
    let verify = "verify repo --root repo/metadata/1.root.json";
    let put = |to: &Path, owner: u32| {
        let _ = fs::remove_file(&place);
        symlink(to, &place).unwrap();
        lchown(&place, Some(owner), Some(owner)).unwrap();
    };
    let outside = home.path("kept.txt");
    fs::rename(&place, &outside).unwrap();
    // What it leads to has the right content: it is not that which is refused.
    put(&outside, 0);
    home.run(verify).done();
    put(&outside, OTHER);
    let refused = home.refused(verify, 6, "VERIFICATION");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("link of another user's that leads out of the repository"), "{refused}");
    assert_eq!(refused["details"]["spec"], "5.7.2", "{refused}");
    let found = home.run("lint repo --json").exits(6).json().to_string();
    assert!(found.contains("link of another user's that leads out of the repository"), "{found}");
    // So is one on the way, above the file.
    fs::remove_file(&place).unwrap();
    fs::rename(&targets, home.path("elsewhere")).unwrap();
    fs::rename(&outside, home.path("elsewhere").join(place.file_name().unwrap())).unwrap();
    symlink(home.path("elsewhere"), &targets).unwrap();
    home.run(verify).done();
    lchown(&targets, Some(OTHER), Some(OTHER)).unwrap();
    home.refused(verify, 6, "VERIFICATION");
    // Within the repository it is a name like any other.
    fs::remove_file(&targets).unwrap();
    fs::rename(home.path("elsewhere"), repo.dir().join("files")).unwrap();
    symlink("files", &targets).unwrap();
    lchown(&targets, Some(OTHER), Some(OTHER)).unwrap();
    home.run(verify).done();
}
