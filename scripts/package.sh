#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes what is handed out, in dist/:
#
#   switchboard-lambda-x86_64.zip     bootstrap for AWS Lambda (provided.al2023), and ca.pem
#   switchboard_VERSION_amd64.deb     for Debian 12, with a systemd unit
#   switchboard-container.tar.gz      context of the container image: docker build - <it
#
#   scripts/package.sh [--static|--shared] [--ca FILE] [zip] [deb] [container]
#
#   --static   libraries linked into bootstrap, or fail
#   --shared   libraries beside it in lib/; neither: static, and shared when that cannot be
#   --ca FILE  certificates added to ca.pem, such as the bundle of RDS in your region
#
# The static libraries are Debian's own.  Two files of the packages that are installed for a build
# are not enough for it: libpq.a wants libpgcommon_shlib.a and libpgport_shlib.a of
# postgresql-server-dev-15 (unpacked, not installed: it would bring LLVM along), and libcjson-dev has
# no libcjson.a, so that comes from Debian's source package.  apt gets both, once, into
# build/package/cache, in the very versions that are installed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$root/build/package
cache=${SWITCHBOARD_PACKAGE_CACHE:-$work/cache}
dist=${SWITCHBOARD_DIST:-$root/dist}
release=$root/build/release
variant=any
ca_files=()
parts=()

die() {
    printf 'package: %s\n' "$*" >&2
    exit 1
}

say() {
    printf 'package: %s\n' "$*" >&2
}

version_of() {
    dpkg-query --show --showformat='${Version}' "$1"
}

# ---- what Debian's packages for building lack ----

# apt with lists of its own: the machine's need not have sources, and nobody has to be root.
private_apt() {
    local apt=$work/apt command=$1
    shift
    "apt-$command" --quiet=2 -o Dir::Etc::SourceList="$apt/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$apt/lists" \
        -o Dir::Cache="$apt/cache" -o APT::Sandbox::User="$(id -un)" "$@"
}

# The mirrors that the machine uses.
private_apt_update() {
    local suite apt=$work/apt
    [ ! -e "$apt/updated" ] || return 0
    suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    # shellcheck disable=SC2016 # apt expands them
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$suite" '$3 == "main" && ($2 == suite || index($2, suite "-") == 1) {
            key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
            print "deb", key, $1, $2, $3
            print "deb-src", key, $1, $2, $3 }' >"$apt/sources.list"
    # Every list or none: otherwise it is content with old ones.
    private_apt get -o APT::Update::Error-Mode=any update >&2 || return 1
    : >"$apt/updated"
}

# Prints the folder with libpgcommon_shlib.a and libpgport_shlib.a.
find_pg_archives() {
    local version package=postgresql-server-dev-15 installed=/usr/lib/postgresql/15/lib folder
    version=$(version_of libpq-dev)
    folder=$cache/$package-$version
    if [ -e "$installed/libpgcommon_shlib.a" ] && [ "$(version_of $package)" = "$version" ]; then
        printf %s "$installed"
        return 0
    fi
    if [ ! -d "$folder" ]; then
        private_apt_update || return 1
        rm -rf "$folder.new"
        mkdir -p "$folder.new"
        (cd "$folder.new" && private_apt get download "$package=$version") >&2 || return 1
        dpkg-deb --extract "$folder.new"/*.deb "$folder.new" || return 1
        mv "$folder.new" "$folder"
    fi
    printf %s "$folder$installed"
}

# Prints the folder with libcjson.a.
find_cjson_archive() {
    local version folder
    version=$(version_of libcjson-dev)
    folder=$cache/cjson-$version
    if [ ! -d "$folder" ]; then
        private_apt_update || return 1
        rm -rf "$folder.new"
        mkdir -p "$folder.new"
        (
            cd "$folder.new" &&
                private_apt get source "cjson=$version" &&
                gcc -c -O2 -fPIC -fstack-protector-strong -D_FORTIFY_SOURCE=2 \
                    -o cJSON.o cjson-*/cJSON.c &&
                ar rcs libcjson.a cJSON.o
        ) >&2 || return 1
        mv "$folder.new" "$folder"
    fi
    printf %s "$folder"
}

# Sets archives: what bootstrap_static is linked with, in link order.
find_archives() {
    local pg cjson name system
    system=/usr/lib/$(gcc -print-multiarch)
    pg=$(find_pg_archives) || return 1
    cjson=$(find_cjson_archive) || return 1
    archives=(
        "$system/libcurl.a" "$system/libpq.a"
        "$pg/libpgcommon_shlib.a" "$pg/libpgport_shlib.a" "$system/libnghttp2.a"
        "$system/libssl.a" "$system/libcrypto.a" "$system/libz.a" "$system/libuv_a.a"
        "$cjson/libcjson.a"
    )
    for name in "${archives[@]}"; do
        [ -e "$name" ] || {
            say "$name is missing"
            return 1
        }
    done
}

# ---- the zip ----

# The C library is Lambda's: one of ours beside it would not fit its loader.
is_of_libc() {
    case $1 in
    linux-vdso.so.* | */ld-linux* | libc.so.* | libm.so.* | libpthread.so.* | libdl.so.* | \
        librt.so.* | libresolv.so.* | libnss_* | libanl.so.* | libutil.so.*) return 0 ;;
    *) return 1 ;;
    esac
}

copy_libraries() {
    local name arrow path rest
    mkdir -p "$2/lib"
    while read -r name arrow path rest; do
        is_of_libc "$name" && continue
        [ "$arrow $path" != "=> not" ] || die "$1: $name $path $rest"
        strip --strip-unneeded -o "$2/lib/$name" "$path"
        chmod 0755 "$2/lib/$name"
    done < <(ldd "$1")
}

# The roots of AWS's own services.  All of Debian's would cost 20 ms per process, and as much again
# for every connection to a database.
write_roots() {
    local name certificates=/usr/share/ca-certificates/mozilla
    for name in Amazon_Root_CA_{1,2,3,4} Starfield_Services_Root_Certificate_Authority_-_G2 \
        Starfield_Root_Certificate_Authority_-_G2 Starfield_Class_2_CA; do
        printf '# %s\n' "$name"
        cat "$certificates/$name.crt"
    done
    [ "${#ca_files[@]}" -eq 0 ] || cat "${ca_files[@]}"
}

choose_variant() {
    if [ "$variant" != shared ]; then
        if find_archives; then
            variant=static
            return 0
        fi
        [ "$variant" = any ] || die "the static libraries are not to be had"
        say "WARNING: the static libraries are not to be had, so the zip gets shared ones"
    fi
    variant=shared
    archives=()
}

make_zip() {
    local tree=$work/lambda zip list
    zip=$dist/switchboard-lambda-$(uname -m).zip
    choose_variant
    list=$(IFS=';' && printf %s "${archives[*]}")
    (cd "$root" && cmake --preset release "-DSWITCHBOARD_ARCHIVES=$list") >"$work/cmake.log" 2>&1 ||
        { cat "$work/cmake.log" >&2 && return 1; }
    (cd "$root" && cmake --build --preset release --target "bootstrap_$variant" -- --quiet) >&2
    rm -rf "$tree"
    mkdir -p "$tree"
    strip -o "$tree/bootstrap" "$release/bootstrap_$variant/bootstrap"
    chmod 0755 "$tree/bootstrap"
    [ "$variant" = static ] || copy_libraries "$tree/bootstrap" "$tree"
    write_roots >"$tree/ca.pem"
    chmod 0644 "$tree/ca.pem"
    find "$tree" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    rm -f "$zip"
    # Sorted and without owners and times: the same files make the same zip.
    (cd "$tree" && find . -type f | LC_ALL=C sort | TZ=UTC zip -q -X -9 -@ "$zip")
    "$root/scripts/package_check.py" "$zip"
}

# ---- the Debian package ----

# From the symbols that are used, as any package's.
write_control() {
    local tree=$1 debian=$work/shlibdeps/debian depends
    rm -rf "${debian%/*}"
    mkdir -p "$debian"
    printf 'Source: switchboard\n\nPackage: switchboard\nArchitecture: any\n' >"$debian/control"
    depends=$(cd "${debian%/*}" && dpkg-shlibdeps -O -e"$tree/usr/bin/switchboard")
    sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$(dpkg --print-architecture)/" \
        -e "s/@DEPENDS@/${depends#shlibs:Depends=}/" \
        -e "s/@SIZE@/$(du -sk "$tree" | cut -f 1)/" \
        "$root/packaging/debian/control" >"$tree/DEBIAN/control"
}

write_documents() {
    local tree=$1 documents=$1/usr/share/doc/switchboard
    install -d "$documents"
    install -m 0644 "$root/README.md" "$root/packaging/debian/switchboard.env" "$documents"
    install -m 0644 "$root/packaging/debian/copyright" "$documents/copyright"
    gzip --best --no-name <"$root/CHANGELOG.md" >"$documents/changelog.gz"
    cp -r "$root/docs" "$root/examples" "$documents"
    find "$documents" -name __pycache__ -prune -exec rm -r {} +
    chmod -R u=rwX,go=rX "$documents"
}

make_deb() {
    local tree=$work/deb name deb
    deb=$dist/switchboard_${version}_$(dpkg --print-architecture).deb
    rm -rf "$tree"
    install -d "$tree/DEBIAN" "$tree/usr/bin" "$tree/lib/systemd/system" \
        "$tree/usr/share/switchboard"
    strip -o "$tree/usr/bin/switchboard" "$release/switchboard"
    chmod 0755 "$tree/usr/bin/switchboard"
    install -m 0644 "$root/packaging/debian/switchboard.service" "$tree/lib/systemd/system"
    install -m 0644 "$root/scripts/roles.sql" "$tree/usr/share/switchboard"
    install -d -m 0750 "$tree/etc/switchboard"
    write_documents "$tree"
    for name in postinst prerm postrm; do
        install -m 0755 "$root/packaging/debian/$name" "$tree/DEBIAN/$name"
    done
    write_control "$tree"
    (cd "$tree" && find usr lib -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) \
        >"$tree/DEBIAN/md5sums"
    chmod 0644 "$tree/DEBIAN/md5sums" "$tree/DEBIAN/control"
    dpkg-deb --root-owner-group -Zxz --build "$tree" "$deb" >"$work/deb.log"
    du -k "$deb" | awk '{ printf "%s: %.2f MB\n", $2, $1 / 1024 }'
}

# ---- the container image ----

# Nothing is built in it: it installs the Debian package.
make_container() {
    local tree=$work/container out=$dist/switchboard-container.tar.gz
    [ -e "$dist/switchboard_${version}_$(dpkg --print-architecture).deb" ] || make_deb
    rm -rf "$tree"
    mkdir -p "$tree"
    install -m 0644 "$root/packaging/container/Dockerfile" "$tree"
    install -m 0755 "$root/scripts/start.sh" "$tree"
    install -m 0644 "$dist/switchboard_${version}_$(dpkg --print-architecture).deb" \
        "$tree/switchboard.deb"
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        --directory="$tree" . | gzip --no-name >"$out"
    du -k "$out" | awk '{ printf "%s: %.2f MB\n", $2, $1 / 1024 }'
}

while [ "$#" -gt 0 ]; do
    case $1 in
    --static | --shared) variant=${1#--} ;;
    --ca)
        [ -r "${2:-}" ] || die "--ca wants a file with certificates"
        ca_files+=("$(readlink -f "$2")")
        shift
        ;;
    zip | deb | container) parts+=("$1") ;;
    *) die "what is \"$1\"?" ;;
    esac
    shift
done
[ "${#parts[@]}" -gt 0 ] || parts=(zip deb container)
[ -x "$release/switchboard" ] || die "$release/switchboard is missing: ./dev build"
mkdir -p "$work" "$cache" "$dist"
version=$("$release/switchboard" version | cut -d ' ' -f 2)
# When it was committed, not when it was made.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 1)}
export SOURCE_DATE_EPOCH
umask 022
for part in "${parts[@]}"; do
    "make_$part"
done
# The lists are large, and old tomorrow.
rm -rf "$work/apt"
