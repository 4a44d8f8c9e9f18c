use super::*;

const T0: Timestamp = Timestamp(1_000);
const T1: Timestamp = Timestamp(2_000);

fn disk() -> Disk {
    Disk::image(T0)
}

fn names(disk: &Disk, folder: &str) -> Vec<String> {
    let listed = disk.list(folder).unwrap();
    listed.into_iter().map(|(name, _)| name.to_owned()).collect()
}

fn put(disk: &mut Disk, path: &str, bytes: &[u8]) {
    disk.create(Who::User, path, 0o644, false, T0).unwrap();
    disk.write(Who::User, path, 0, bytes, T0).unwrap();
}

#[test]
fn a_path_is_followed_before_anything_is_looked_up() {
    assert_eq!(absolute("a/./b//c/").unwrap(), "/home/ubuntu/a/b/c");
    assert_eq!(absolute("/tmp/../etc/.").unwrap(), "/etc");
    assert_eq!(absolute("/../..").unwrap(), "/");
    assert_eq!(absolute(""), Err(DiskError::NotFound));
    assert_eq!(absolute(&"x".repeat(5_000)), Err(DiskError::TooLong));
}

#[test]
fn a_folder_lists_what_is_in_it_and_nothing_deeper() {
    let mut disk = disk();
    for folder in ["/tmp/a", "/tmp/a/b", "/tmp/a-c", "/tmp/a/b/deep"] {
        disk.make_folder(Who::User, folder, 0o755, T0).unwrap();
    }
    put(&mut disk, "/tmp/a/file", b"x");
    assert_eq!(names(&disk, "/tmp"), ["a", "a-c"]);
    assert_eq!(names(&disk, "/tmp/a"), ["b", "file"]);
    assert_eq!(names(&disk, "/"), ["etc", "home", "tmp", "var"]);
    assert_eq!(disk.list("/tmp/a/file"), Err(DiskError::NotAFolder));
    assert_eq!(disk.list("/tmp/none"), Err(DiskError::NotFound));
}

#[test]
fn a_file_is_written_in_any_order_and_read_in_pieces() {
    let mut disk = disk();
    disk.create(Who::User, "notes", 0o640, true, T0).unwrap();
    disk.write(Who::User, "notes", 4, b"four", T1).unwrap();
    disk.write(Who::User, "notes", 0, b"zero", T1).unwrap();
    assert_eq!(disk.read("/home/ubuntu/notes", 2, 4).unwrap(), b"rofo");
    assert_eq!(disk.read("notes", 8, 4).unwrap(), b"");
    assert_eq!(disk.read("notes", u64::MAX, 4).unwrap(), b"");
    let node = disk.stat("notes").unwrap();
    assert_eq!((node.mode, node.bytes(), node.modified), (0o640, 8, T1));
    let again = disk.create(Who::User, "notes", 0o644, true, T1);
    assert_eq!(again, Err(DiskError::Exists));
}

#[test]
fn a_rename_takes_everything_below_along() {
    let mut disk = disk();
    disk.make_folders(Who::User, "/tmp/old/inner", T0).unwrap();
    put(&mut disk, "/tmp/old/inner/file", b"x");
    put(&mut disk, "/tmp/older", b"y");
    disk.rename(Who::User, "/tmp/old", "/tmp/new", false).unwrap();
    assert_eq!(names(&disk, "/tmp"), ["new", "older"]);
    assert_eq!(disk.read("/tmp/new/inner/file", 0, 9).unwrap(), b"x");
    let into_itself = disk.rename(Who::User, "/tmp/new", "/tmp/new/inner/x", false);
    assert_eq!(into_itself, Err(DiskError::Invalid));

    put(&mut disk, "/tmp/other", b"z");
    let kept = disk.rename(Who::User, "/tmp/older", "/tmp/other", false);
    assert_eq!(kept, Err(DiskError::Exists));
    disk.rename(Who::User, "/tmp/older", "/tmp/other", true).unwrap();
    assert_eq!(disk.read("/tmp/other", 0, 9).unwrap(), b"y");
    let over_a_folder = disk.rename(Who::User, "/tmp/other", "/tmp/new", true);
    assert_eq!(over_a_folder, Err(DiskError::IsAFolder));
}

#[test]
fn who_logs_in_writes_at_home_and_in_tmp_and_nowhere_else() {
    let mut disk = disk();
    for path in [
        "/etc/passwd",
        "/home/other",
        "/tmp/../etc/x",
        "/home/ubuntu",
        "/tmp",
    ] {
        let made = disk.create(Who::User, path, 0o644, false, T0);
        assert_eq!(made, Err(DiskError::Denied), "{path}");
        assert_eq!(disk.remove_all(Who::User, path), Err(DiskError::Denied), "{path}");
    }
    disk.create(Who::Root, "/etc/passwd", 0o644, false, T0).unwrap();
    assert_eq!(disk.remove_all(Who::Root, "/"), Err(DiskError::Denied));
    let nowhere = disk.create(Who::User, "/none/x", 0o644, false, T0);
    assert_eq!(nowhere, Err(DiskError::NotFound));
}

#[test]
fn it_is_full_at_its_bound_and_has_room_again_when_something_is_removed() {
    let mut disk = disk();
    let half = vec![1; BYTES_MAX / 2];
    put(&mut disk, "/tmp/one", &half);
    disk.create(Who::User, "/tmp/two", 0o644, true, T0).unwrap();
    let end = half.len() as u64;
    let past = disk.write(Who::User, "/tmp/two", end, &half, T0);
    assert_eq!(past, Err(DiskError::Full));
    assert_eq!(
        disk.set_bytes(Who::User, "/tmp/two", u64::MAX, T0),
        Err(DiskError::Full)
    );
    disk.write(Who::User, "/tmp/two", 0, &half[1_000..], T0).unwrap();
    assert_eq!(
        disk.copy(Who::User, "/tmp/one", "/tmp/three", T0),
        Err(DiskError::Full)
    );
    disk.remove(Who::User, "/tmp/two").unwrap();
    disk.write(Who::User, "/tmp/one", end, &half[2_000..], T0)
        .unwrap();

    for number in 0.. {
        match disk.create(Who::User, &format!("/tmp/{number:05}"), 0o644, true, T0) {
            Ok(()) => assert!(number < ENTRIES_MAX),
            Err(error) => {
                assert_eq!(error, DiskError::Full);
                break;
            }
        }
    }
}

#[test]
fn a_recording_costs_no_memory_and_reads_the_same_however_it_is_read() {
    let mut disk = disk();
    let (path, bytes) = ("/home/ubuntu/recordings/show.mp4", 10 * BYTES_MAX as u64);
    let content = Content::Recorded { seed: 7, bytes };
    disk.write_whole(path, content, T0).unwrap();
    assert_eq!(disk.stat(path).unwrap().bytes(), bytes);
    let whole = disk.read(path, 1_000, 999).unwrap();
    let pieces = [
        disk.read(path, 1_000, 3).unwrap(),
        disk.read(path, 1_003, 996).unwrap(),
    ];
    assert_eq!(pieces.concat(), whole);
    assert_eq!(disk.read(path, bytes - 3, 99).unwrap().len(), 3);
    assert!(whole.iter().collect::<std::collections::BTreeSet<_>>().len() > 200);
    let other = Content::Recorded { seed: 8, bytes };
    disk.write_whole(path, other, T0).unwrap();
    assert_ne!(disk.read(path, 1_000, 999).unwrap(), whole);
    disk.copy(Who::User, path, "/tmp/copy", T1).unwrap();
    assert_eq!(disk.stat("/tmp/copy").unwrap().bytes(), bytes);
}

#[test]
fn what_is_looked_for_is_found_by_depth_kind_and_name() {
    let mut disk = disk();
    disk.make_folders(Who::User, "/tmp/a/b.mp4", T0).unwrap();
    for path in ["/tmp/a/1.mp4", "/tmp/a/2.mkv", "/tmp/a/b.mp4/3.mp4"] {
        put(&mut disk, path, b"");
    }
    let found = |pattern: &Pattern| -> Vec<String> {
        let found = disk.find("/tmp/a", pattern).unwrap();
        found.into_iter().map(|(path, _)| path.to_owned()).collect()
    };
    let mp4 = Pattern {
        name: Some("*.mp4".to_owned()),
        folders: Some(false),
        ..Pattern::default()
    };
    assert_eq!(found(&mp4), ["/tmp/a/1.mp4", "/tmp/a/b.mp4/3.mp4"]);
    let near = Pattern {
        depth_max: Some(1),
        ..mp4
    };
    assert_eq!(found(&near), ["/tmp/a/1.mp4"]);
    assert_eq!(found(&Pattern::default()).len(), 5);
    let inner = Pattern {
        depth_min: 1,
        folders: Some(true),
        ..Pattern::default()
    };
    assert_eq!(found(&inner), ["/tmp/a/b.mp4"]);
}

#[test]
fn a_boot_empties_tmp() {
    let mut disk = disk();
    put(&mut disk, "/tmp/left", b"x");
    put(&mut disk, "/home/ubuntu/kept", b"x");
    disk.boot();
    assert_eq!(names(&disk, "/tmp"), Vec::<String>::new());
    assert!(disk.stat("kept").is_ok());
}
