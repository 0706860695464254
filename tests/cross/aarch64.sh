#!/usr/bin/env bash
# Builds for aarch64 and runs what says whether its kernels are right, under qemu's emulation: every
# NEON kernel against the definition and the stored bits, and every model family.
# usage: tests/cross/aarch64.sh BUILD [golden|kernelcheck|sums ...]     (default: golden kernelcheck)
# sums: writes the lines of neon into kernels/numerics.sum, where none of them may move.
# Needs debootstrap, qemu-user and Debian's cross compilers; the first time a network. Without them it
# says so and passes. Half an hour; --op NAME in $KERNELCHECK shortens the kernels.
set -euo pipefail
build=$(realpath -m "${1:?usage: tests/cross/aarch64.sh BUILD [golden|kernelcheck ...]}")
shift
[ $# -gt 0 ] || set -- golden kernelcheck
root=$build-root
suite=bookworm
cd "$(dirname "$0")/../.."
for tool in debootstrap qemu-aarch64 aarch64-linux-gnu-gcc aarch64-linux-gnu-g++; do
    command -v $tool >/dev/null || [ -x /usr/sbin/$tool ] || {
        echo "skipped: $tool is not here (apt-get install debootstrap qemu-user g++-aarch64-linux-gnu)"
        exit 0
    }
done

# A folder with the headers and libraries of the other processor; nothing in it is ever run natively.
if [ ! -e "$root/ready" ]; then
    rm -rf "$root"
    packages=$(make -s --no-print-directory deps-list | tr ' ' '\n' | grep -- '-dev$\|-headers$' | paste -sd,)
    if ! PATH=$PATH:/usr/sbin debootstrap --foreign --arch=arm64 --variant=minbase \
        --include="$packages,libcriterion-dev,libstdc++-12-dev" $suite "$root" >"$build-root.log" 2>&1; then
        echo "skipped: debootstrap could not fetch $suite for arm64 (see $build-root.log)"
        exit 0
    fi
    for package in "$root"/var/cache/apt/archives/*.deb; do
        dpkg-deb -x "$package" "$root"
    done
    touch "$root/ready"
fi

export PKG_CONFIG_SYSROOT_DIR=$root
export PKG_CONFIG_LIBDIR=$root/usr/lib/aarch64-linux-gnu/pkgconfig:$root/usr/share/pkgconfig
export QEMU_LD_PREFIX=$root
compile() {
    make -s --no-print-directory B="$build" CC="aarch64-linux-gnu-gcc --sysroot=$root" \
        CXX="aarch64-linux-gnu-g++ --sysroot=$root" -j"$(nproc)" "$@"
}
for what in "$@"; do
    echo "== aarch64: $what"
    case $what in
    golden)
        compile "$build/golden"
        qemu-aarch64 "$build/golden"
        ;;
    kernelcheck)
        compile "$build/kernelcheck"
        # shellcheck disable=SC2086 # a list of words
        qemu-aarch64 "$build/kernelcheck" ${KERNELCHECK:-}
        ;;
    sums)
        compile "$build/kernelcheck"
        qemu-aarch64 "$build/kernelcheck" --variant neon --write-sums
        ;;
    *)
        echo "aarch64.sh: there is no \"$what\"" >&2
        exit 2
        ;;
    esac
done
