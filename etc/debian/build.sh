#!/bin/bash
# Debian packages from what make install wrote.
# usage: etc/debian/build.sh INSTALLED VERSION OUT       INSTALLED: DESTDIR, with PREFIX=/usr
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$1" && pwd)
version=$2
mkdir -p "$3"
out=$(cd "$3" && pwd)
for tool in dpkg-deb dpkg-shlibdeps dpkg-architecture strip; do
    command -v $tool >/dev/null || { echo "deb: $tool is missing (apt-get install dpkg-dev binutils)" >&2; exit 1; }
done
arch=$(dpkg-architecture -qDEB_HOST_ARCH)
: "${SOURCE_DATE_EPOCH:=$(git -C "$here" log -1 --format=%ct 2>/dev/null || date +%s)}"
export SOURCE_DATE_EPOCH
maintainer=${DEB_MAINTAINER:-$(git -C "$here" log -1 --format='%an <%ae>' 2>/dev/null || echo 'recurd <root@localhost>')}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

# programs PACKAGE NAME…: with manual pages and completion.
programs() {
    local to=$work/$1 p page
    shift
    for p in "$@"; do
        install -D -m 755 "$root/usr/bin/$p" "$to/usr/bin/$p"
        strip --strip-unneeded --remove-section=.comment --remove-section=.note "$to/usr/bin/$p"
        for page in "$root"/usr/share/man/man?/"$p".?; do
            page=${page#"$root"}
            install -D -m 644 "$root$page" "$to$page"
        done
        install -D -m 644 "$root/usr/share/bash-completion/completions/$p" \
            "$to/usr/share/bash-completion/completions/$p"
        install -D -m 644 "$root/usr/share/zsh/vendor-completions/_$p" \
            "$to/usr/share/zsh/vendor-completions/_$p"
    done
}

# copy PACKAGE PATH…: as they are.
copy() {
    local to=$work/$1 p
    shift
    for p in "$@"; do
        mkdir -p "$to/$(dirname "$p")"
        cp -R "$root/$p" "$to/$p"
    done
}

programs recurd recurd recurd-eval recurd-state recurd-convert
copy recurd usr/share/man/man5 usr/lib/systemd usr/share/recurd/systemd usr/share/recurd/proxy usr/share/recurd/monitoring usr/share/recurd/capacity usr/share/doc/recurd/guide etc/recurd/recurd.conf
install -D -m 644 "$here/../api-keys.example" "$work/recurd/usr/share/doc/recurd/examples/api-keys"
programs recurd-bench recurd-bench
copy recurd-models-demo usr/share/recurd/demo

# Papers that every package has.
document() {
    local doc=$work/$1/usr/share/doc/$1
    mkdir -p "$doc"
    cat >"$doc/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: recurd

Files: *
Copyright: 2026 the authors of recurd
License: Apache-2.0

License: Apache-2.0
 The text of the license is in /usr/share/common-licenses/Apache-2.0.
END
    printf 'recurd (%s) unstable; urgency=medium\n\n  * See the release notes of this version.\n\n -- %s  %s\n' \
        "$version" "$maintainer" "$(date -R -u -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
}

# What the package's programs are linked with, by the packages of this distribution.
libraries() {
    local to=$work/$1
    mkdir -p "$work/shlibs/debian"
    printf 'Source: recurd\n\nPackage: %s\nArchitecture: any\n' "$1" >"$work/shlibs/debian/control"
    (cd "$work/shlibs" && dpkg-shlibdeps -O --warnings=1 $(printf -- '-e%s ' "$to"/usr/bin/*)) |
        sed 's/^shlibs:Depends=//'
}

for package in $(sed -n 's/^Package: //p' "$here/control"); do
    to=$work/$package
    document "$package"
    find "$to/usr/share/man" -type f -exec gzip -9n {} + 2>/dev/null || true
    if [ -e "$here/$package.lintian" ]; then
        install -D -m 644 "$here/$package.lintian" "$to/usr/share/lintian/overrides/$package"
    fi
    mkdir -p "$to/DEBIAN"
    for script in preinst postinst prerm postrm; do
        [ ! -e "$here/$package.$script" ] || install -m 755 "$here/$package.$script" "$to/DEBIAN/$script"
    done
    [ ! -d "$to/etc" ] || (cd "$to" && find etc -type f -printf '/%p\n' | sort >DEBIAN/conffiles)
    stanza=$(awk -v RS= -v p="Package: $package" 'index($0 "\n", p "\n") == 1' "$here/control")
    depends=
    case $stanza in *SHLIBS*) depends=$(libraries "$package") ;; esac
    size=$(du -sk --apparent-size --exclude=DEBIAN "$to" | cut -f1)
    printf '%s\n' "$stanza" | sed -e "s|SHLIBS|$depends|" -e "s|^Architecture: any|Architecture: $arch|" \
        -e "1a Source: recurd" -e "1a Version: $version" -e "1a Maintainer: $maintainer" \
        -e "1a Priority: optional" -e "1a Installed-Size: $size" >"$work/control"
    sed -i "/^Source: $package\$/d" "$work/control"
    mv "$work/control" "$to/DEBIAN/control"
    (cd "$to" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort |
        xargs -d '\n' md5sum >DEBIAN/md5sums)
    chmod -R u=rwX,go=rX "$to"
    find "$to" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    file=$out/${package}_${version}_$(sed -n 's/^Architecture: //p' "$to/DEBIAN/control").deb
    dpkg-deb --root-owner-group -Zxz -b "$to" "$file" >/dev/null
    echo "$file"
done
