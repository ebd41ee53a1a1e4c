#!/usr/bin/busybox sh
# The interpreter of cni-node.cjs in the image: the kernel hands it the path of the program, and its words.
# What stays on the node takes less memory if nothing is compiled from the start on, and large pieces go back at once.
case ${2-} in
  watch)
    export MALLOC_MMAP_THRESHOLD_=32768
    set -- --no-opt --no-maglev --no-sparkplug "$@"
    ;;
esac
# Process 1 gets no signal that it has no handler for, and Node.js takes a moment to have one: an init has that place.
[ $$ != 1 ] || exec /usr/bin/tini -- /usr/lib/cni-node/node "$@"
exec /usr/lib/cni-node/node "$@"
