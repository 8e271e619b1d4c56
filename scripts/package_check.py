#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks a zip for AWS Lambda before it is handed out: package_check.py ZIP [--no-start]

* Programs and libraries in it need a C library of 2.34 at most (Amazon Linux 2023), and no other
  library than those in the zip and the C library's own.
* What is not linked in is found through DT_RPATH.
* bootstrap starts in a folder with the C library and nothing else, as its root, and asks a Runtime
  API of ours for an invocation; how long that took and how much memory is printed.

What is linked in has to stay within 3 MB of zip, 5 ms of processor time and 12 MB of memory.
"""
import argparse
import http.server
import os
import pathlib
import re
import shutil
import socket
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

GLIBC_MOST = (2, 34)
ZIP_MB_MOST = 3.0
CPU_MS_MOST = 5.0
RSS_MB_MOST = 12.0
RUNS = 20
START_SECONDS = 20
DATABASE_MS = 100
LIBC = re.compile(r"(ld-linux-[\w-]+|lib(c|m|pthread|dl|rt|resolv))\.so\.\d+")
RPATH = "/var/task/lib"
NEXT = "/2018-06-01/runtime/invocation/next"


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


# ---- what is in it ----

def is_elf(path):
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def dynamic(path, tag):
    """The values of a tag of the dynamic section, such as NEEDED."""
    return re.findall(rf"\({tag}\).*\[(.*)\]", output("readelf", "--dynamic", "--wide", str(path)))


def check_elf(path, libraries):
    """What is wrong with one program or library."""
    problems = []
    for version in sorted(set(re.findall(r"\bGLIBC_(\d+)\.(\d+)",
                                         output("objdump", "--dynamic-syms", str(path))))):
        if tuple(map(int, version)) > GLIBC_MOST:
            problems.append(f"needs GLIBC_{'.'.join(version)}")
    others = [name for name in dynamic(path, "NEEDED") if not LIBC.fullmatch(name)]
    problems += [f"needs {name}, which is not there" for name in others if name not in libraries]
    if dynamic(path, "RUNPATH"):
        problems.append("has a DT_RUNPATH, which LD_LIBRARY_PATH goes before")
    if path.name == "bootstrap" and others and dynamic(path, "RPATH") != [RPATH]:
        problems.append(f"has no DT_RPATH {RPATH}")
    return [f"{path.name} {problem}" for problem in problems]


def check_files(task):
    """What is wrong with what the zip unpacks to."""
    elves = [path for path in sorted(task.rglob("*")) if path.is_file() and is_elf(path)]
    libraries = {path.name for path in elves if path.parent == task / "lib"}
    problems = [problem for path in elves for problem in check_elf(path, libraries)]
    problems += [f"{name} belongs to the C library" for name in libraries if LIBC.fullmatch(name)]
    bootstrap = task / "bootstrap"
    if bootstrap not in elves:
        problems.append("there is no program bootstrap")
    elif bootstrap.stat().st_mode & 0o777 != 0o755:
        problems.append("bootstrap's mode is not 755")
    if "BEGIN CERTIFICATE" not in (task / "ca.pem").read_text():
        problems.append("ca.pem has no certificates")
    return problems


def unpack(archive, folder):
    with zipfile.ZipFile(archive) as file:
        for entry in file.infolist():
            path = pathlib.Path(file.extract(entry, folder))
            path.chmod(entry.external_attr >> 16 & 0o777)


# ---- the start ----

def add_libc(root, bootstrap):
    """The C library, as Lambda's system has it, and not even /dev."""
    needed = [name for path in [bootstrap, *bootstrap.parent.glob("lib/*")]
              for name in dynamic(path, "NEEDED") if LIBC.fullmatch(name)]
    interpreter = re.search(r"interpreter: (.*)\]", output("readelf", "--segments", str(bootstrap)))
    multiarch = output("gcc", "-print-multiarch").strip()
    paths = {interpreter[1], *(f"/lib/{multiarch}/{name}" for name in needed)}
    for path in paths:
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path[1:])


class RuntimeApi(http.server.ThreadingHTTPServer):
    """As much of it as a start needs: nobody ever gets an invocation."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = threading.Event()
        self.failure = None
        # It never answers: what a connection costs is not the program's matter alone.
        self.database = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def server_bind(self):
        # Not HTTPServer's, which looks its own name up: there is nothing here to do that with.
        socketserver.TCPServer.server_bind(self)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == NEXT:
            self.server.asked.set()
        threading.Event().wait()  # until the end: there is no invocation, and no end of one

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/init/error"):
            self.server.failure = body.decode(errors="replace")
        self.send_response(200 if "/extension/" in self.path else 202)
        self.send_header("Lambda-Extension-Identifier", "0")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


def environment(api):
    return {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_address[1]}",
        "AWS_LAMBDA_FUNCTION_NAME": "check", "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "_HANDLER": "bootstrap",
        "LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LD_LIBRARY_PATH": "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:"
                           "/var/task/lib:/opt/lib",
        "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token", "TZ": ":UTC",
        "DATABASE_URL": f"host=127.0.0.1 port={api.database.getsockname()[1]} user=switchboard",
        "SWITCHBOARD_DATABASE_CONNECT_TIMEOUT_MS": str(DATABASE_MS),
        "SWITCHBOARD_TLS_CA_FILE": "/var/task/ca.pem",
    }


def cpu_ms(proc, pid):
    """Processor time of all threads; /proc is not in the new root, so it was opened before."""
    total = 0
    for thread in os.listdir(os.open(f"{pid}/task", os.O_RDONLY, dir_fd=proc)):
        with open(os.open(f"{pid}/task/{thread}/schedstat", os.O_RDONLY, dir_fd=proc)) as file:
            total += int(file.read().split()[0])
    return total / 1e6


def peak_mb(proc, pid):
    with open(os.open(f"{pid}/status", os.O_RDONLY, dir_fd=proc)) as file:
        return int(re.search(r"VmHWM:\s*(\d+) kB", file.read())[1]) / 1024


def start_once(proc, command):
    """(ms of processor time, ms by the clock, MB) up to the first request for an invocation."""
    api = RuntimeApi()
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment(api), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        while not api.asked.wait(0.001):
            if process.poll() is not None:
                sys.exit(f"bootstrap ended with status {process.returncode} before it asked for an"
                         f" invocation: {api.failure or ''}\n{process.stdout.read().decode()}")
            if time.monotonic() - began > START_SECONDS:
                sys.exit("bootstrap has not asked for an invocation")
        wall = (time.monotonic() - began) * 1000
        return cpu_ms(proc, process.pid), wall, peak_mb(proc, process.pid)
    finally:
        process.kill()
        process.wait()
        api.shutdown()
        api.server_close()
        api.database.close()


def check_start(root, has_limits):
    """Changes the root of this process."""
    proc = os.open("/proc", os.O_RDONLY)
    os.chroot(root)
    os.chdir("/var/task")
    print(output("/var/task/bootstrap", "version").strip() + " starts in a folder with libc only")
    runs = [start_once(proc, ["/var/task/bootstrap"]) for _ in range(RUNS)]
    cpu, wall, memory = zip(*runs)
    print(f"first request for an invocation, {RUNS} starts: {statistics.median(cpu):.1f} ms of"
          f" processor time (least {min(cpu):.1f}), {statistics.median(wall):.1f} ms by the clock"
          f" (least {min(wall):.1f}; {DATABASE_MS} of them wait for a database), {max(memory):.1f} MB"
          " of memory")
    # The least: what others on this machine do to its caches is not ours.
    if has_limits and min(cpu) > CPU_MS_MOST:
        sys.exit(f"more than {CPU_MS_MOST:g} ms of processor time")
    if has_limits and max(memory) > RSS_MB_MOST:
        sys.exit(f"more than {RSS_MB_MOST:g} MB of memory")


def may_chroot():
    """As root, or as root of a namespace of our own, in which this starts again."""
    if os.geteuid() == 0:
        return True
    if shutil.which("unshare") and subprocess.run(
            ["unshare", "--user", "--map-root-user", "true"],
            stderr=subprocess.DEVNULL).returncode == 0:
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", *sys.orig_argv])
    return False


def describe(archive, task):
    megabytes = archive.stat().st_size / 1e6
    kind = "libraries linked in" if is_static(task) else "shared libraries in lib/"
    programs = sum(path.stat().st_size for path in task.rglob("*") if path.is_file()) / 1e6
    print(f"{archive}: {megabytes:.2f} MB, unpacked {programs:.2f} MB; {kind}")


def is_static(task):
    return not (task / "lib").exists()


def check_start_in(root):
    """In a child, because a process that has changed its root cannot go back."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 0
        try:
            check_start(root, is_static(root / "var" / "task"))
        except SystemExit as failure:
            print(f"package_check: {failure}", file=sys.stderr)
            status = 1
        sys.stdout.flush()
        os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("zip", type=pathlib.Path)
    parser.add_argument("--no-start", action="store_true", help="only look at the files")
    arguments = parser.parse_args()
    wants_start = not arguments.no_start and may_chroot()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        task = root / "var" / "task"
        task.mkdir(parents=True)
        unpack(arguments.zip, task)
        describe(arguments.zip, task)
        problems = check_files(task)
        if is_static(task) and arguments.zip.stat().st_size > ZIP_MB_MOST * 1e6:
            problems.append(f"the zip has more than {ZIP_MB_MOST:g} MB")
        for problem in problems:
            print(f"package_check: {problem}", file=sys.stderr)
        if problems:
            return 1
        if wants_start:
            add_libc(root, task / "bootstrap")
            return 0 if check_start_in(root) else 1
        if not arguments.no_start:
            print("not started: that takes root, for chroot")
    return 0


if __name__ == "__main__":
    sys.exit(main())
