#!/usr/bin/busybox sh
# The interpreter of cni-node.cjs in the image: the kernel hands it the path of the program, and its words.

# A process that stays takes less memory with V8's compilers off from the start, and large blocks returned when freed.
case ${2-} in
  watch)
    export MALLOC_MMAP_THRESHOLD_=32768
    set -- --no-opt --no-maglev --no-sparkplug "$@"
    ;;
esac

# Process 1 gets no signal that it has no handler for, and Node.js takes a moment to have one: an init has that place.
[ $$ != 1 ] || exec /usr/bin/tini -- /usr/lib/cni-node/node "$@"
exec /usr/lib/cni-node/node "$@"
