# SPDX-License-Identifier: Apache-2.0
"""What ./dev package makes: the zip for AWS Lambda in both its kinds, the gates in front of it, the
Debian package, the container image's context.

Wants build/release.  Where a root is changed (chroot, dpkg --root) it takes to be root.
"""
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "service")]

import certificates  # noqa: E402
import harness  # noqa: E402
import package_check  # noqa: E402

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="changes its root, which takes to be root")
ROOTS = 7
PASSWORD = "correct horse"


def run(*command, **options):
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def package(dist, *arguments):
    done = run(ROOT / "scripts" / "package.sh", *arguments,
               env={**os.environ, "SWITCHBOARD_DIST": str(dist)})
    assert done.returncode == 0, done.stdout
    return done.stdout


def check(archive, *arguments):
    return run(ROOT / "scripts" / "package_check.py", archive, *arguments)


# ---- the zip ----

class Zip:
    def __init__(self, dist, kind):
        self.kind = kind
        self.output = package(dist, f"--{kind}", "zip")
        (self.path,) = dist.glob("switchboard-lambda-*.zip")
        self.root = dist / "root"
        self.task = self.root / "var" / "task"
        self.task.mkdir(parents=True)
        package_check.unpack(self.path, self.task)
        package_check.add_libc(self.root, self.task / "bootstrap")

    def names(self):
        with zipfile.ZipFile(self.path) as file:
            return file.namelist()


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    return Zip(tmp_path_factory.mktemp("static"), "static")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return Zip(tmp_path_factory.mktemp("shared"), "shared")


def test_the_static_one_is_one_program_and_the_roots(static):
    assert static.names() == ["bootstrap", "ca.pem"]
    assert "libraries linked in" in static.output
    assert static.path.stat().st_size <= 3e6


def test_the_shared_one_has_its_libraries_and_not_the_c_library(shared):
    names = shared.names()
    assert {"bootstrap", "ca.pem", "lib/libpq.so.5", "lib/libcurl.so.4"} <= set(names)
    assert not [name for name in names if re.search(r"/(libc|libm|libresolv|ld-linux)\b", name)]
    assert not [name for name in names if "websockets" in name or "microhttpd" in name]
    assert "shared libraries" in shared.output


@AS_ROOT
def test_both_start_in_a_folder_with_the_c_library_only(static, shared):
    for output in static.output, shared.output:
        assert re.search(r"first request for an invocation, 20 starts: \d+\.\d ms", output)


def test_the_same_sources_make_the_same_zip(static, tmp_path):
    package(tmp_path, "--static", "zip")
    again = tmp_path / static.path.name
    assert (hashlib.sha256(again.read_bytes()).hexdigest()
            == hashlib.sha256(static.path.read_bytes()).hexdigest())


def test_the_roots_are_amazons_and_what_was_asked_for(static, tmp_path):
    text = (static.task / "ca.pem").read_text()
    assert text.count("BEGIN CERTIFICATE") == ROOTS
    assert text.count("# Amazon_Root_CA_") == 4
    more = tmp_path / "rds.pem"
    more.write_text("# rds\n" + certificates.authority()[0])
    package(tmp_path, "--static", "--ca", more, "zip")
    with zipfile.ZipFile(tmp_path / static.path.name) as file:
        text = file.read("ca.pem").decode()
    assert text.count("BEGIN CERTIFICATE") == ROOTS + 1 and "# rds" in text


def test_it_says_that_it_has_no_gateway(static):
    done = run(static.task / "bootstrap", "serve")
    assert (done.returncode, done.stdout) == (
        1, "switchboard: this build is the one for AWS Lambda: it has no gateway and no HTTP port\n")


def test_it_has_the_migrations(static):
    done = run(static.task / "bootstrap", "migrate", "--database-url", "postgresql://127.0.0.1:1/x")
    assert done.returncode == 1 and "Connection refused" in done.stdout


def test_without_network_it_has_shared_libraries_and_says_so(tmp_path):
    (tmp_path / "apt.conf").write_text('Acquire::http::Proxy "http://127.0.0.1:1";\n'
                                       'Acquire::https::Proxy "http://127.0.0.1:1";\n'
                                       'Acquire::Retries "0";\n')
    environment = {**os.environ, "APT_CONFIG": str(tmp_path / "apt.conf"),
                   "SWITCHBOARD_DIST": str(tmp_path),
                   "SWITCHBOARD_PACKAGE_CACHE": str(tmp_path / "cache")}
    done = run(ROOT / "scripts" / "package.sh", "zip", env=environment)
    assert done.returncode == 0 and "shared libraries in lib/" in done.stdout, done.stdout
    assert "WARNING: the static libraries are not to be had" in done.stdout
    done = run(ROOT / "scripts" / "package.sh", "--static", "zip", env=environment)
    assert done.returncode == 1 and "the static libraries are not to be had" in done.stdout


# ---- the gates ----

def build_zip(folder, source, *flags, mode=0o755, ca="-----BEGIN CERTIFICATE-----\n"):
    """A zip with a bootstrap of our own; source None: with none."""
    archive = folder / "bad.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("ca.pem", ca)
        if source is not None:
            (folder / "bootstrap.c").write_text(source)
            done = run("gcc", "-o", folder / "bootstrap", folder / "bootstrap.c", *flags)
            assert done.returncode == 0, done.stdout
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = (0o100000 | mode) << 16
            file.writestr(entry, (folder / "bootstrap").read_bytes())
    return archive


EMPTY = "int main(void) { return 3; }\n"
ZLIB = "#include <zlib.h>\nint main(void) { return zlibVersion()[0]; }\n"
RANDOM = "#include <stdlib.h>\nint main(void) { return (int)arc4random(); }\n"
RPATH = "-Wl,-rpath,/var/task/lib"


@pytest.mark.parametrize("source, flags, problem", [
    (RANDOM, [], "bootstrap needs GLIBC_2.36"),
    (ZLIB, ["-lz", RPATH, "-Wl,--disable-new-dtags"], "needs libz.so.1, which is not there"),
    (ZLIB, ["-lz", RPATH, "-Wl,--enable-new-dtags"], "bootstrap has a DT_RUNPATH"),
    (ZLIB, ["-lz"], "bootstrap has no DT_RPATH /var/task/lib"),
    (None, [], "there is no program bootstrap"),
], ids=["glibc", "library", "runpath", "rpath", "empty"])
def test_what_would_not_run_on_lambda_is_refused(tmp_path, source, flags, problem):
    done = check(build_zip(tmp_path, source, *flags), "--no-start")
    assert done.returncode == 1 and problem in done.stdout, done.stdout


def test_what_is_no_program_or_has_no_roots_is_refused(tmp_path):
    done = check(build_zip(tmp_path, EMPTY, mode=0o644), "--no-start")
    assert done.returncode == 1 and "mode is not 755" in done.stdout
    done = check(build_zip(tmp_path, EMPTY, ca=""), "--no-start")
    assert done.returncode == 1 and "ca.pem has no certificates" in done.stdout


def test_a_good_one_passes(tmp_path):
    done = check(build_zip(tmp_path, EMPTY), "--no-start")
    assert done.returncode == 0, done.stdout


@AS_ROOT
def test_one_that_does_not_ask_for_an_invocation_is_refused(tmp_path):
    source = "int main(int argc, char **argv) { (void)argv; return argc == 2 ? 0 : 3; }\n"
    done = check(build_zip(tmp_path, source))
    assert done.returncode == 1
    assert "ended with status 3 before it asked for an invocation" in done.stdout


# ---- what stands in for the libraries that the static one lacks ----

def ask_database(static, url, **environment):
    return run(static.task / "bootstrap", "migrate", "status", "--database-url", url,
               env=environment)


def test_ldap_fails_and_nothing_stops(static, tmp_path):
    service = tmp_path / "pg_service.conf"
    service.write_text("[away]\nldap://127.0.0.1:1/dc=example?uri?one?(cn=x)\n")
    done = ask_database(static, "service=away", PGSERVICEFILE=str(service))
    assert done.returncode == 1 and "LDAP" in done.stdout, done.stdout


def test_encryption_with_kerberos_fails_and_nothing_stops(static):
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = ask_database(static, f"host=127.0.0.1 port={server.getsockname()[1]}"
                                    " gssencmode=require connect_timeout=5")
    assert done.returncode == 1 and "GSSAPI" in done.stdout, done.stdout


def ask_for_kerberos(server):
    """A PostgreSQL that wants to know who is there from Kerberos."""
    peer, _ = server.accept()
    with peer:
        peer.recv(1000)
        peer.sendall(b"R" + struct.pack("!II", 8, 7))
        peer.recv(1000)


def test_a_server_that_asks_for_kerberos_fails_and_nothing_stops(static):
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=ask_for_kerberos, args=(server,))
        thread.start()
        done = ask_database(static, f"host=127.0.0.1 port={server.getsockname()[1]} user=x"
                                    " sslmode=disable")
        thread.join()
    assert done.returncode == 1 and "GSSAPI" in done.stdout, done.stdout


def test_names_that_are_not_ascii_fail_and_nothing_stops(static):
    done = run(static.task / "bootstrap", "health", "--admin-address", "b\u00fccher.invalid")
    assert done.returncode == 1 and "b\u00fccher.invalid" in done.stdout, done.stdout


class Compressed(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", self.server.encoding)
        self.end_headers()
        self.wfile.write(b"\x1b\x03\x00")


@pytest.mark.parametrize("encoding", ["br", "zstd"])
def test_an_encoding_that_nobody_asked_for_fails_and_nothing_stops(static, encoding):
    with http.server.HTTPServer(("127.0.0.1", 0), Compressed) as server:
        server.encoding = encoding
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        done = run(static.task / "bootstrap", "health", "--admin-port", server.server_port)
        thread.join()
    assert done.returncode == 1 and done.stdout.startswith("switchboard: http://"), done.stdout


# ---- a database with TLS and SCRAM, from the bare folder ----

class TlsCluster(harness.Cluster):
    """One that is reached through TCP, with TLS and a password only."""

    def start(self):
        self.authority, certificate, key = certificates.server("db.test")
        for name, text in ("server.crt", certificate), ("server.key", key):
            (self.data / name).write_text(text)
            (self.data / name).chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(self.data / name, "postgres", "postgres")
        (self.data / "pg_hba.conf").write_text(
            "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        self.port = certificates.free_port()
        options = f"-k {self.home} -c listen_addresses=127.0.0.1 -c port={self.port} -c ssl=on"
        self._run("pg_ctl", "start", "--silent", "--wait", "--pgdata", str(self.data), "--log",
                  str(self.home / "postgres.log"), "--options", options)

    def url(self, user, database, password=None):
        return super().url(user, database, password) + f"&port={self.port}"


@pytest.fixture(scope="module")
def tls_cluster():
    cluster = TlsCluster()
    try:
        cluster.admin(f"create role tls login superuser password '{PASSWORD}'")
        yield cluster
    finally:
        cluster.remove()


def migrate_status(zip_file, cluster, **changes):
    parameters = {"host": "db.test", "hostaddr": "127.0.0.1", "port": cluster.port, "user": "tls",
                  "password": PASSWORD, "dbname": "postgres", "sslmode": "verify-full",
                  "sslrootcert": "/var/task/db.pem", **changes}
    (zip_file.task / "db.pem").write_text(cluster.authority)
    url = " ".join(f"{name}='{value}'" for name, value in parameters.items())
    return run("/usr/sbin/chroot", zip_file.root, "/var/task/bootstrap", "migrate", "status", env={
        "DATABASE_URL": url, "HOME": "/", "LD_LIBRARY_PATH": "/lib64:/var/task/lib"})


@AS_ROOT
@pytest.mark.parametrize("kind", ["static", "shared"])
def test_a_database_with_tls_and_scram(request, tls_cluster, kind):
    zip_file = request.getfixturevalue(kind)
    done = migrate_status(zip_file, tls_cluster)
    assert done.returncode == 0 and "0001" in done.stdout, done.stdout
    done = migrate_status(zip_file, tls_cluster, host="other.test")
    assert done.returncode == 1 and "does not match host name" in done.stdout
    done = migrate_status(zip_file, tls_cluster, sslrootcert="/var/task/ca.pem")
    assert done.returncode == 1 and "certificate verify failed" in done.stdout
    done = migrate_status(zip_file, tls_cluster, password="wrong")
    assert done.returncode == 1 and "password authentication failed" in done.stdout


# ---- the Debian package and the container image ----

@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    dist = tmp_path_factory.mktemp("dist")
    package(dist, "deb", "container")
    return dist


@pytest.fixture(scope="module")
def deb(dist):
    (path,) = dist.glob("switchboard_*.deb")
    return path


def depends(deb):
    field = run("dpkg-deb", "--field", deb, "Depends").stdout
    return {re.match(r"[a-z0-9.+-]+", name.strip())[0] for name in field.split(",")}


def test_the_deb_depends_on_what_the_dockerfile_installs(deb):
    text = (ROOT / "Dockerfile").read_text().split("FROM")[-1]
    installed = re.search(r"--no-install-recommends(.*?)&&", text, re.DOTALL)[1]
    assert set(installed.replace("\\", " ").split()) == depends(deb) - {"libc6"} | {"ca-certificates"}


def test_the_deb_has_program_unit_and_documents(deb):
    listed = run("dpkg-deb", "--contents", deb).stdout
    modes = {line.split()[-1]: line.split()[:2] for line in listed.splitlines()}
    assert modes["./usr/bin/switchboard"] == ["-rwxr-xr-x", "root/root"]
    assert modes["./lib/systemd/system/switchboard.service"][0] == "-rw-r--r--"
    assert modes["./etc/switchboard/"] == ["drwxr-x---", "root/root"]
    assert "./usr/share/doc/switchboard/docs/routes.md" in modes
    assert "./etc/switchboard/switchboard.env" not in modes


def dpkg(root, *arguments):
    """On a system of its own: neither this machine's list of packages nor its systemd is touched."""
    (root / "var" / "lib" / "dpkg" / "info").mkdir(parents=True, exist_ok=True)
    (root / "var" / "lib" / "dpkg" / "updates").mkdir(exist_ok=True)
    (root / "var" / "lib" / "dpkg" / "status").touch()
    done = run("dpkg", f"--root={root}", "--force-depends", "--force-script-chrootless",
               "--no-triggers", *arguments, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stdout
    return done.stdout


@AS_ROOT
def test_the_deb_says_what_is_missing_and_leaves_nothing_behind(deb, tmp_path):
    assert "is not started: /etc/switchboard/switchboard.env is missing" in dpkg(
        tmp_path, "--install", deb)
    assert run(tmp_path / "usr" / "bin" / "switchboard", "version").returncode == 0
    shutil.copy(tmp_path / "usr/share/doc/switchboard/switchboard.env",
                tmp_path / "etc" / "switchboard")
    assert "is not started" not in dpkg(tmp_path, "--install", deb)  # an update
    dpkg(tmp_path, "--remove", "switchboard")
    assert (tmp_path / "etc" / "switchboard" / "switchboard.env").exists()
    dpkg(tmp_path, "--purge", "switchboard")
    left = [path for path in tmp_path.rglob("*")
            if path.is_file() and "var/lib/dpkg" not in str(path) and path.name != "dpkg.log"]
    assert left == [] and not (tmp_path / "etc" / "switchboard").exists()


def test_the_example_of_the_settings_is_understood():
    text = (ROOT / "packaging" / "debian" / "switchboard.env").read_text()
    settings = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.MULTILINE))
    done = run(ROOT / "build" / "release" / "switchboard", "config", "--json", env=settings)
    assert done.returncode == 0, done.stdout
    shown = json.loads(done.stdout)
    for name, value in settings.items():
        if name != "DATABASE_URL" and value and "SECRET" not in name:
            assert str(shown[name.removeprefix("SWITCHBOARD_").lower()]) == value


def test_systemd_takes_the_unit_and_finds_it_closed(tmp_path):
    unit = tmp_path / "switchboard.service"
    text = (ROOT / "packaging" / "debian" / "switchboard.service").read_text()
    unit.write_text(text.replace("/usr/bin/switchboard",
                                 str(ROOT / "build" / "release" / "switchboard")))
    done = run("systemd-analyze", "verify", "--recursive-errors=no", "--man=no", unit)
    assert (done.returncode, done.stdout) == (0, "")
    done = run("systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", unit)
    assert done.returncode == 0, done.stdout


def test_the_context_of_the_image_is_complete(dist, deb):
    with tarfile.open(dist / "switchboard-container.tar.gz") as file:
        assert sorted(file.getnames()) == [
            ".", "./Dockerfile", "./start.sh", "./switchboard.deb"]
        assert file.extractfile("./switchboard.deb").read() == deb.read_bytes()
        assert file.getmember("./start.sh").mode == 0o755
        copied = re.findall(r"^COPY (\S+)", file.extractfile("./Dockerfile").read().decode(), re.M)
    assert copied == ["switchboard.deb", "start.sh"]
