#!/bin/bash
# What openvnf/cni-node of 2019 does for `install` and `list`, retold: it copies every file at every run, in place.
#
#     original.sh list SOURCE | plugins SOURCE TARGET NAME... | configs SOURCE TARGET NAME...
set -e
action=$1 source=$2 target=$3

install_config() {
  local text name
  text=$(cat "$source/$1")
  # A pointer on a line of its own is replaced by the file of the node that it names.
  for name in $(echo "$text" | sed -n 's/^ *__\(.*\)__ *$/\1/p'); do
    text=$(echo "$text" | sed -e "/^ *__${name}__ *\$/{" -e "r $target/$name" -e "d" -e "}")
  done
  echo "$text" | tee "$target/$1"
}

case $action in
  list) ls -1 "$source" ;;
  plugins) for name in "${@:4}"; do install -m 0755 "$source/$name" "$target/$name"; done ;;
  configs) for name in "${@:4}"; do install_config "$name"; done ;;
esac
