#!/bin/sh
# Stands before cni-node where an engine calls an OCI runtime or a hook, and does what needs no Node.js: it hands calls on
# to the runtime, and puts the hooks into the usual config.json of a container. Everything else is for the program beside
# it, which can do all of this as well (src/oci.ts).
#
#   oci [--config FILE] -- WORDS    as an OCI runtime; also words of a runtime alone, with the default configuration
#   cni [--config FILE] --command add|del|check [--network NAME]    as a hook
set -f

defaults=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Becomes the runtime. Returns if the program has to do it.
run_oci() {
  config=
  while [ $# -gt 0 ]; do
    case $1 in
      --) shift && break ;;
      --config | -config) [ -n "${2-}" ] && config=$2 && shift 2 || return ;;
      --config=?* | -config=?*) config=${1#*=} && shift ;;
      -*) return ;;
      *) break ;;
    esac
  done
  read_config && scan "$@" || return
  case $called in
    create | run)
      # Node.js starts while config.json is written and the runtime works.
      [ "$called" = run ] || stand_by
      splice || return
      # `run` stays as long as its container, which gets its signals.
      case $called,${runtime##*/} in create,*crun*) stay_before "$@" ;; esac
      ;;
  esac
  exec "$runtime" "$@"
}

# Starts the program that stands by for hooks, unless it runs already. Only where containerd has made the bundle, which
# has its log in it: the service's control group, in which the program stays, is not removed with the container.
stand_by() {
  [ "$log" = "$bundle/log.json" ] || return 0
  locate
  if meet || ! grep -q '{"type":"network"}' "$bundle/config.json" 2>/dev/null || ! find_node; then return 0; fi
  room=$rooms/$$
  [ -d "$rooms" ] || mkdir -m 700 "$rooms" 2>/dev/null
  is_own "$rooms" && mkdir -m 700 "$room" 2>/dev/null &&
    mkfifo -m 600 "$room/calls" "$room/1" "$room/2" "$room/3" "$room/4" "$room/5" "$room/6" "$room/7" "$room/8" \
      "$room/9" "$room/10" "$room/11" "$room/12" "$room/13" "$room/14" "$room/15" "$room/16" 2>/dev/null || return 0
  # Opened for both, which waits for nobody; the first slots before the runtime can call a hook.
  # shellcheck disable=SC2094
  {
    {
      unset NODE_OPTIONS NODE_EXTRA_CA_CERTS
      exec "$node" "$here/cni-node.cjs" standby "$room"
    } <&9 >/dev/null 2>&1 9>&- &
    echo "$! $room" >|"$rooms/standby"
  } 3<"$here/cni-node.cjs" 4<>"$room/1" 5<>"$room/2" 6<>"$room/3" 7<>"$room/4" 8<>"$room/5" 9<>"$room/calls" 2>/dev/null
}

# Sets room. Fails unless the program beside this file stands by there; one that it has replaced does not count.
meet() {
  room=
  is_own "$rooms" && [ -f "$rooms/standby" ] && read -r pid room <"$rooms/standby" && [ -n "$room" ] || return
  # shellcheck disable=SC3013
  [ "/proc/$pid/fd/0" -ef "$room/calls" ] && [ "/proc/$pid/fd/3" -ef "$here/cni-node.cjs" ]
}

is_own() {
  # shellcheck disable=SC3067
  [ -O "$1" ] && [ ! -h "$1" ]
}

# Hands the hook on to the program that stands by, and ends as that says. Returns if there is none.
hand_on() {
  locate
  meet && claim || return
  taken=
  status=
  # shellcheck disable=SC2094
  {
    # Opened for both first, which waits for nobody; reading ends when nobody else can write any more.
    exec 7>&-
    # While it reads or prints, its standard input or output is another, and those of the hook are 6 and 5. The slot may
    # have been given to another hook, if this one has slept since it took it; from now on it stays its own.
    { read -r pid <"$room/$slot.lock"; } 2>/dev/null && [ "$pid" = $$ ] && [ -p /proc/self/fd/9 ] &&
      echo "$slot $$" >&8 &&
      while read -r pid status <&9; do
        case $pid,$status in
          "$$",taken) taken=1 ;;
          "$$",*) break ;;
        esac
      done
  } 5>&1 6<&0 7<>"$room/$slot" 9<"$room/$slot" 8<>"$room/calls"
  case $status in
    [0-9] | [0-9][0-9] | [0-9][0-9][0-9]) exit "$status" ;;
  esac
  [ -z "$taken" ] || fail "the hook was killed"
}

# Sets slot, the FIFO by which this hook alone gets its answer. The program gives it back.
claim() {
  slot=0
  set -C
  while [ "$slot" -lt 16 ]; do
    slot=$((slot + 1))
    { echo $$ >"$room/$slot.lock"; } 2>/dev/null && set +C && return
  done
  set +C
  return 1
}

# Runs the runtime, and gives back what a container has got that could not be created: crun runs no poststop hook then,
# and does not show why a hook failed.
stay_before() {
  "$runtime" "$@" && exit
  status=$?
  case $bundle in /*) ;; *) bundle=$PWD/$bundle ;; esac
  case $id$bundle in
    *[!A-Za-z0-9_./:@%+,=-]*) exit "$status" ;;
  esac
  set -- --command failed
  [ -z "$config" ] || set -- "$@" --config "$config"
  [ -z "$log" ] || set -- "$@" --log "$log" --log-format "${log_format:-text}"
  printf '{"id":"%s","bundle":"%s"}' "$id" "$bundle" | run_program cni "$@"
  exit "$status"
}

# Sets runtime. Fails unless the configuration has nothing but plain lines.
read_config() {
  runtime=
  seen=
  file=${config:-/etc/docker/cni.yaml}
  if [ -f "$file" ] && [ -r "$file" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
      case $line in
        '' | '#'* | cni_conf_dir:' '* | cni_bin_dir:' '* | cni_ifname:' '* | cni_cache_dir:' '*) ;;
        cni_env:' '* | cni_annotations:' '*) ;;
        cni_log:' '* | log_driver:' '* | log_level:' '*) ;;
        oci_bin:' '*) [ -z "$seen" ] && seen=1 && read_runtime "${line#oci_bin:}" || return ;;
        *) return 1 ;;
      esac
    done <"$file"
  elif [ -n "$config" ] || [ -e "$file" ]; then
    return 1
  fi
  case $runtime in
    /*) ;;
    */*) return 1 ;;
    '') look_up runc || look_up crun || return ;;
    *) look_up "$runtime" || return ;;
  esac
  [ -f "$runtime" ] && [ -x "$runtime" ] && is_other
}

# It would call itself for ever: the runtime may have been replaced by a link to it.
is_other() {
  # shellcheck disable=SC3013
  ! [ "$runtime" -ef "$0" ]
}

# The value of oci_bin, without blanks and comment.
read_runtime() {
  runtime=${1%%' #'*}
  while :; do
    case $runtime in
      ' '*) runtime=${runtime#' '} ;;
      *' ') runtime=${runtime%' '} ;;
      *) break ;;
    esac
  done
  case $runtime in
    [!A-Za-z/]* | *[!A-Za-z0-9_/.+-]* | [Nn][Uu][Ll][Ll]) return 1 ;;
  esac
}

# Finds a program of that name.
look_up() {
  name=$1
  path=$PATH:$defaults
  old_ifs=$IFS
  IFS=:
  for directory in $path; do
    case $directory in
      /*) [ -f "$directory/$name" ] && [ -x "$directory/$name" ] && runtime=$directory/$name && is_other && break ;;
    esac
  done
  IFS=$old_ifs
  case $runtime in /*) ;; *) return 1 ;; esac
}

# Sets called, the runtime's command, bundle, id and log. Fails where runc and crun could mean different things.
scan() {
  called=
  id=
  bundle=.
  log=
  log_format=
  while [ $# -gt 0 ]; do
    case $1 in
      --log) [ $# -gt 1 ] && log=$2 && shift 2 || return ;;
      --log-format) [ $# -gt 1 ] && log_format=$2 && shift 2 || return ;;
      --log=*) log=${1#*=} && shift ;;
      --log-format=*) log_format=${1#*=} && shift ;;
      --root | --log-level | --criu | --rootless | --cgroup-manager) [ $# -gt 1 ] && shift 2 || return ;;
      --debug | --systemd-cgroup | --version | -v | --help | -h | --*=*) shift ;;
      -*) return 1 ;;
      *) break ;;
    esac
  done
  called=${1-}
  case $called in
    create | run) shift ;;
    *) return 0 ;;
  esac
  while [ $# -gt 0 ]; do
    case $1 in
      --bundle | -b) [ -n "${2-}" ] && bundle=$2 && shift 2 || return ;;
      --bundle=?*) bundle=${1#*=} && shift ;;
      --console-socket | --pid-file | --preserve-fds | --pidfd-socket) [ $# -gt 1 ] && shift 2 || return ;;
      --console-socket=* | --pid-file=* | --preserve-fds=* | --pidfd-socket=*) shift ;;
      --no-pivot | --no-new-keyring | --no-subreaper | --keep | --detach | -d) shift ;;
      -*) return 1 ;;
      *) id=$1 && shift ;;
    esac
  done
}

# Puts the hooks into config.json. Fails unless it is as containerd and podman write it: on one line, with a network
# namespace of its own, and with no hooks, or the one that Docker puts there. In these places, no text of others can look
# the same: its quotation marks are escaped. The file is replaced by one of the same mode and owner.
splice() {
  locate
  path=${PATH:-$defaults}
  spec=$bundle/config.json
  temporary=$spec.cni-node
  # A copy would follow a link.
  [ ! -h "$temporary" ] && [ ! -e "$temporary" ] || return
  case $bundle,$front$config$path$bundle in
    -* | *[!A-Za-z0-9_./:@%+,=-]*) return 1 ;;
  esac
  case $config in
    '') words= ;;
    /*) words='"--config","'$config'",' ;;
    *) return 1 ;;
  esac
  hook='[{"path":"'$front'","args":["'$front'","cni",'$words'"--command",'
  env='"],"env":["PATH='$path'"]}]'
  hooks='"createRuntime":'$hook'"add'$env',"poststop":'$hook'"del'$env
  cp -p "$spec" "$temporary" 2>/dev/null || return
  sed -n \
    -e '$!q' \
    -e '/"--command","/q' \
    -e '/"createRuntime":/q' \
    -e '/"poststop":/q' \
    -e '/\\u00[4-7]/q' \
    -e '/{"type":"network"}/!q' \
    -e 's/"[Hh][Oo][Oo][Kk][Ss]"/&/2' \
    -e 't' \
    -e '/"[Hh][Oo][Oo][Kk][Ss]"/b docker' \
    -e "s|^{\"ociVersion\":|{\"hooks\":{$hooks},\"ociVersion\":|w $temporary" \
    -e 'q' \
    -e ':docker' \
    -e "s|],\"hooks\":{\"prestart\":\\[{\"path\":\"/|],\"hooks\":{$hooks,\"prestart\":[{\"path\":\"/|w $temporary" \
    "$spec" 2>/dev/null && [ -s "$temporary" ] && is_whole && mv -f "$temporary" "$spec" && return
  rm -f "$temporary"
  return 1
}

# Does the new file end as the old one? Not every sed says that it could not write (a disk is full).
is_whole() {
  [ "$(tail -c 64 "$temporary")" = "$(tail -c 64 "$spec")" ]
}

# Sets front, the absolute path of this file without links, and here, its directory.
locate() {
  [ -z "$here" ] || return 0
  front=$0
  case $front in
    */./* | */../* | *//*) front=$(readlink -f "$front") ;;
    /*) [ ! -h "$front" ] || front=$(readlink -f "$front") ;;
    */*) front=$(readlink -f "$front") ;;
    *) front=$(readlink -f "$(command -v "$front" || echo "$front")") ;;
  esac
  here=${front%/*}
}

# Sets node. Fails if there is none.
find_node() {
  for node in "$here/node" "$here/../node_modules/.bin/node" "$here/../../.bin/node"; do
    [ ! -f "$node" ] || [ ! -x "$node" ] || return 0
  done
  found=$runtime
  runtime=
  look_up node
  status=$?
  node=$runtime
  runtime=$found
  return $status
}

# Becomes the program.
run_program() {
  unset NODE_OPTIONS NODE_EXTRA_CA_CERTS
  locate
  [ -f "$here/cni-node.cjs" ] || fail "there is no cni-node.cjs beside $front: install the whole directory again"
  find_node && exec "$node" "$here/cni-node.cjs" "$@"
  fail "there is no Node.js beside $front, and none in PATH: install one, or the whole directory again"
}

# Ends. Engines show what is in the log of the runtime.
fail() {
  echo "cni-node: $1" >&2
  case $log_format,$1 in
    json,*[\\\"]*) ;;
    json,*) [ -z "$log" ] || printf '{"level":"error","msg":"cni-node: %s"}\n' "$1" >>"$log" ;;
  esac
  exit 127
}

log=
log_format=
runtime=
here=
# Where the program that stands by is found: its process, and its room of FIFOs.
rooms=/run/cni-node
case ${1-} in
  cni) hand_on ;;
  oci)
    shift
    run_oci "$@"
    set -- oci "$@"
    ;;
  -h | --help | help) ;;
  -* | checkpoint | create | delete | events | exec | features | kill | list | pause | ps | restore | resume | run | \
    spec | start | state | update)
    run_oci -- "$@"
    set -- oci -- "$@"
    ;;
esac
run_program "$@"
