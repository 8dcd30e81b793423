"""utils.files: whole writes, text in every locale, locks."""
import os
import stat
import subprocess
import sys

import pytest

from utils import files


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "masks.bin"
    files.write_whole(path, b"old")

    def full(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError) as caught:
        files.write_whole(path, b"new", durable=True)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["masks.bin"]
    assert "disk is full" in files.os_error_sentence(caught.value) and "masks.bin" in str(caught.value)


def test_the_longest_name_that_a_disk_allows_can_be_written(tmp_path):
    path = tmp_path / "new" / ("n" * 251 + ".png")
    files.write_whole(path, b"mask")
    assert path.read_bytes() == b"mask"


def test_a_new_file_has_the_usual_rights_and_a_replaced_one_its_own(tmp_path):
    usual, path = tmp_path / "usual", tmp_path / "ours"
    usual.touch()
    files.write_whole(path, b"1")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    path.chmod(0o640)
    files.write_whole(path, b"2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_json_is_utf8_with_or_without_a_mark_and_keeps_names_of_any_bytes(tmp_path):
    path, value = tmp_path / "v.json", {"Иван.jpg": "кот", "odd": os.fsdecode(b"a\xff.jpg")}
    files.write_json(path, value)
    assert files.read_json(path) == value
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert files.read_json(path) == value


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000])
def test_bad_json_is_one_sentence_with_the_name(tmp_path, content):
    (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(files.UserError, match=r"v\.json is no JSON"):
        files.read_json(tmp_path / "v.json")


def test_missing_files_and_folders_are_named(tmp_path):
    for read in (files.read_text, files.file_digest):
        with pytest.raises(files.UserError, match="absent"):
            read(tmp_path / "absent")
    for check in (files.existing_file, files.existing_folder):
        with pytest.raises(files.UsageError, match="absent"):
            check(tmp_path / "absent")


def test_digests_agree(tmp_path):
    content = os.urandom(3 << 20)
    (tmp_path / "f").write_bytes(content)
    assert files.file_digest(tmp_path / "f") == files.digest(content) != files.digest(content[:-1])


def test_names_sort_as_people_count():
    names = ["a10", "A2", "b", "1", "a²"]
    assert sorted(names, key=files.natural_key) == ["1", "A2", "a10", "a²", "b"]


@pytest.mark.parametrize("size, text", [(950, "950 B"), (11_400_000, "11.4 MB"), (18e9, "18.0 GB")])
def test_sizes_are_said_in_powers_of_1000(size, text):
    assert files.format_size(size) == text


def test_a_second_process_is_kept_out_until_the_first_is_killed(tmp_path):
    code = ("import sys, time; from utils.files import folder_lock\n"
            f"with folder_lock({str(tmp_path)!r}, 'training'): print('in', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(files.UserError, match="another training"), files.folder_lock(tmp_path, "training"):
            pass
        other.kill()
    with files.folder_lock(tmp_path, "training"):
        pass


def test_output_survives_a_terminal_of_another_alphabet():
    code = "from utils.files import tolerant_output; tolerant_output(); print('снимки', '\\udcff')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True,
                          env={**os.environ, "PYTHONIOENCODING": "cp1252"})
    assert done.stdout.strip() == b"?????? ?"
