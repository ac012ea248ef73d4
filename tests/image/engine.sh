#!/usr/bin/env bash
# Builds and runs the container with buildah, podman and runc, without a daemon or a registry.
# Usage: engine.sh install | build FOLDER | run FOLDER ARGUMENTS... | remove FOLDER
# IMAGE_BASE is the base image; the default is a Debian that debootstrap creates.
set -euo pipefail
cd "$(dirname "$0")/../.."
say() { echo "image-test: $*" >&2; }
image=localhost/circuitshift:test
store=${2:-}
engine=(--root "$store/images" --runroot "$store/run" --storage-driver overlay)
case "${1:-}" in
install)
    [ "$(id -u)" = 0 ] || { say "this needs root: debootstrap and runc make file systems and namespaces"; exit 1; }
    for program in buildah podman runc debootstrap; do
        command -v "$program" >/dev/null && continue
        command -v apt-get >/dev/null || { say "$program is not installed, and apt-get is not available to install it"; exit 1; }
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            buildah podman crun runc debootstrap netavark uidmap >/dev/null
        break
    done
    ;;
build)
    mkdir -p "$store"
    base=${IMAGE_BASE:-localhost/debian:12}
    if [ "$base" = localhost/debian:12 ] && ! buildah "${engine[@]}" inspect "$base" >/dev/null 2>&1; then
        say "creating a Debian base image"
        debootstrap --variant=minbase bookworm "$store/debian" >"$store/debootstrap.log" 2>&1 \
            || { say "debootstrap failed; see $store/debootstrap.log"; exit 1; }
        rm -f "$store"/debian/var/cache/apt/archives/*.deb
        mkdir -p "$store/base"
        tar -C "$store/debian" --numeric-owner -cf "$store/base/debian.tar" .
        rm -rf "$store/debian"
        printf 'FROM scratch\nADD debian.tar /\nCMD ["/bin/bash"]\n' > "$store/base/Dockerfile"
        buildah "${engine[@]}" bud -q --isolation chroot -t "$base" "$store/base" >/dev/null
        rm -rf "$store/base"
    fi
    # certificates of networks with their own certificate authority
    secret=()
    bundle=${PIP_CERT:-${SSL_CERT_FILE:-}}
    if [ -n "$bundle" ]; then secret=(--secret "id=ca,src=$bundle"); fi
    say "building $image"
    buildah "${engine[@]}" bud --isolation chroot --build-arg "BASE=$base" "${secret[@]}" \
        -t "$image" -f containers/Dockerfile . >"$store/build.log" 2>&1 \
        || { tail -20 "$store/build.log" >&2; say "the build failed; see $store/build.log"; exit 1; }
    grep -E '^(left out of|in) the image' "$store/build.log" >&2
    ;;
run)
    # explicit limits, since some machines do not allow to raise them; only the given folders are writable
    exec podman "${engine[@]}" --runtime runc --cgroup-manager cgroupfs run --rm \
        --ulimit nofile=20000:20000 --ulimit nproc=10000:10000 \
        --network none --read-only --tmpfs /tmp "${@:3}"
    ;;
inspect)
    exec podman "${engine[@]}" image inspect "$image"
    ;;
remove)
    buildah "${engine[@]}" rmi --all --force >/dev/null 2>&1 || true
    umount "$store/images/overlay" 2>/dev/null || true
    rm -rf "$store"
    ;;
*)
    say "usage: engine.sh install | build FOLDER | run FOLDER ARGUMENTS... | inspect FOLDER | remove FOLDER"
    exit 2
    ;;
esac
