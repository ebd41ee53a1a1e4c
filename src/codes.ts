/**
 * Every code of a finding, and what it means: stable, for programs. `node scripts/docs.ts` makes the table of
 * docs/troubleshooting.md from it. The program itself needs the names only, as a type.
 */
export const FINDING_CODES = {
  "addresses-stale":
    "host-local keeps addresses for containers whose network namespace is gone, or in files that name no container; an error when the range is used up by these",
  "addresses-unreadable": "host-local's store, or an address in it, is not what host-local makes",
  "addresses-used-up": "every address of host-local's range is in use by containers that may still be there",
  "asset-changed": "a file that cni-node installed was changed; plugins that others chain into a list do not count",
  "asset-fought-over": "another agent repeatedly changes a file that `watch` repairs; `watch` repairs it less often",
  "asset-missing": "a file that cni-node installed was removed",
  "attachment-damaged":
    "a file in the cache of attachments is empty, cut or not an attachment, so it cannot be used to delete the attachment",
  "attachment-plugin-missing": "containers that may still be there were attached with a plugin that is gone",
  "attachments-unreadable": "a cache of attachments cannot be read",
  "backup-missing": "the file that was there before cni-node's can no longer come back",
  "cache-untrusted":
    "a user other than root may have written to the cache of attachments or to an entry in it, which decides which plugins run as root",
  "capability-missing":
    "Multus, `portmap` or `bandwidth` does not declare the capability that it needs: runtimes pass nothing to it, and host ports or bandwidth limits of pods are lost without an error",
  "catalogue-unusable": "the catalogue of plugins in the image cannot be used",
  "catalogue-version": "the catalogue cannot say which CNI versions a plugin supports: it does not answer `VERSION`",
  "chain-absent": "`uninstall --chain` names a plugin that is not chained into any network",
  "chain-duplicate": "a plugin is in the chain twice with the same configuration",
  "chain-type-twice": "`--chain` puts a plugin into a chain that has one of the same type",
  "chain-without-interface": "the first plugin of the chain needs another plugin before it",
  "changed-by-others": "another program changed a file after an interrupted run, so it was left as it is",
  "cluster-network-missing": "Multus' `clusterNetwork` names a file that is missing in net.d",
  "config-broken-unused": "a file cannot be loaded; it is not used as long as other files come before it",
  "config-directory": "a directory has the name of a configuration; runtimes skip it",
  "config-invalid":
    "a configuration cannot be loaded: the file that runtimes would use, or one that cni-node would install or use",
  "credentials-expire": "nine tenths of a token's or certificate's life are over: its renewal is late",
  "credentials-expired": "a token or certificate that a plugin uses has expired",
  "credentials-unbound":
    "a token is not bound to its Node, because the server or the rights of cni-node do not allow it: it stays valid if the Node is deleted",
  "delegate-key-unknown": "the template of `--delegate-keys` has a key that Multus does not read",
  "delegate-shadowed":
    "container runtimes do not use the configuration that is put around the primary: the primary, or a configuration of Multus that cni-node did not install, comes first",
  "delegates-to-itself": "a plugin calls itself, without end",
  "desired-key-missing": "the ConfigMap that says what is desired lacks a list: what is installed of these stays",
  "desired-key-unknown": "the ConfigMap that says what is desired has keys that cni-node does not read",
  "desired-unknown": "the ConfigMap that says what is desired has not been read yet: `watch` keeps what is installed",
  "directory-crowded": "a directory has more entries than any node needs: only the first were examined",
  "directory-owner": "a directory of plugins or configurations belongs to a user other than root",
  "directory-unusable":
    "the directory of plugins or of configurations is a file, a link that leads nowhere, or cannot be read",
  "drain-ended": "`--drain` stopped waiting before the containers that need a plugin had ended",
  "engine-annotations-untrusted": "hooks.d is called by annotations, and the configuration does not let them count",
  "engine-containers": "containers have the runtime that `engine disable` removes, or may have it",
  "engine-device-name": "a network has a name that no CDI device can have, so there is no device for it",
  "engine-hooks-unread": "no configuration of Podman names the directory of the hooks",
  "engine-not-loaded": "dockerd runs with another configuration than its file has",
  "engine-not-reloaded": "dockerd could not be asked to read its configuration again",
  "engine-program-missing": "an engine calls a program that is missing or not executable",
  "engine-restart": "dockerd must be restarted before a CDI specification counts",
  "engine-unconfigured": "the configuration of the OCI wrapper cannot be used, or has no network",
  "engine-unproved": "a container, or the program on the host, could not be tried",
  "file-mode":
    "users other than root may read a configuration (a note), read one that seems to contain a secret, or write to one (a warning)",
  "file-owner": "a configuration or kubeconfig does not belong to root:root",
  "files-left": "temporary files of a run could not be removed; the next run removes them",
  "forward-policy-drop":
    "the firewall drops forwarded packets that no rule accepts (Docker sets this policy), so pods may not reach pods of other nodes",
  "forwarding-off": "the kernel does not forward packets between interfaces, so pods do not reach pods of other nodes",
  "handler-load-failed": "containerd could not load the configurations of a runtime handler",
  "inotify-exhausted":
    "the kernel has no watch of directories left: `watch` looks at them every 2 seconds until it has one",
  "kubeconfig-invalid":
    "a kubeconfig that a configuration names, or that cni-node itself uses, cannot work: its server, authority, context or form is wrong, or a placeholder is left in it",
  "kubeconfig-missing": "a kubeconfig that a configuration names is missing",
  "kubeconfig-mode": "users other than root may read a kubeconfig",
  "kubeconfig-unseen": "cni-node cannot see whether a kubeconfig exists",
  "link-dangling": "a link leads nowhere",
  "link-unseen": "a configuration, or a file that an uninstall puts back, is a link to a place that is not mounted",
  "loopback-missing": "containerd calls `loopback` for every pod, and it is missing",
  "masquerade-failed": "the rules that masquerade the traffic of pods out of the cluster could not be set or removed",
  "more-findings": "there are more findings than are shown at once",
  "name-unread": "a network configuration has a name that no runtime reads",
  "needs-unseen": "plugins are removed, and cni-node cannot see whether something still needs them",
  "network-name": "the network has a name that no pod can be attached with",
  "network-name-shared": "two files have the same network name: addresses and attachments get mixed up",
  "network-unconfirmed": "the container runtime did not say within 30 seconds that it uses the new configuration",
  "network-unseen": "this user may not read the configurations: run `status` as root",
  "no-network": "a runtime finds no network for pods",
  "node-address-missing":
    "a Node is missing an InternalIP in the IP family of its podCIDR, so cni-node cannot set a route to it",
  "node-off-link":
    "a Node is not on a link of this node, so a route to its pods would lead nowhere; routers between the nodes need it",
  "node-without-cidr": "a Node has no podCIDR",
  "not-on-node": "an asset is in both lists of an option, so it is not compared, but it is not on the node",
  "objects-left":
    "the objects of manifests could not be deleted when a process with `--on-stop` ended: they stay in the cluster",
  "plugin-architecture": "a plugin is built for another processor",
  "plugin-broken": "a plugin does not answer `VERSION` as the CNI specification asks for",
  "plugin-config":
    "a plugin of the image will refuse its configuration: a value in quotes that is not text, or ranges of host-local that are missing, overlap or lie outside of their subnet",
  "plugin-denied": "a plugin could not be run from here: a security module denies it",
  "plugin-directory-missing":
    "the directory of plugins is missing, and the runtime's other directories do not have all that is needed",
  "plugin-loader":
    "the loader, interpreter or library that a plugin needs is missing; a warning if only this container lacks it",
  "plugin-missing": "a plugin that a configuration needs is in none of the runtime's directories",
  "plugin-mode": "a plugin is not executable",
  "plugin-no-file": "a directory or another file that is not regular has the name of a plugin",
  "plugin-no-program": "a plugin's file is not a program",
  "plugin-noexec": "a plugin's file system is mounted `noexec`",
  "plugin-silent": "a plugin does not answer within 5 seconds",
  "plugin-type": "`type` is a path, not the file name of a plugin",
  "plugin-unasked": "a plugin could not be started from here, for another reason",
  "plugin-unseen": "cni-node cannot see whether a plugin exists",
  "pod-cidr-invalid": "a podCIDR of a Node is not a network",
  "pod-cidr-overlap":
    "a podCIDR overlaps that of another Node, which had its route already or is older, so it gets no route",
  "pod-cidr-refused":
    "a podCIDR would take addresses of this node, of another node, of the API or of no pod, so it gets no route",
  "pointer-left": "a configuration contains a `__NAME__` that was not replaced",
  "probe-failed":
    "`--probe`: a network does not work with the new files; only a warning if it failed before the run, too, or `--validate` is not strict",
  "probe-skipped": "`--probe` added no container to a network, because that is not known to be harmless",
  "readiness-file-missing": "Multus waits for a file that is missing",
  "record-newer": "a newer cni-node has written the record",
  "record-unreadable": "the record of what cni-node installed cannot be read",
  "record-unwritable": "cni-node cannot write its record in a target directory",
  "reserved-key": "a configuration sets a key that runtimes set themselves",
  "route-failed": "the kernel has refused a change of a route",
  "route-foreign": "another program has set a route that cni-node would set, so cni-node leaves it alone",
  "rp-filter-strict":
    "the kernel drops packets that come in on another interface than the route back, and this node's routes use several",
  "run-finished": "this run finished or discarded an interrupted run",
  "run-unfinished": "a run of cni-node was interrupted; the finding says what the next run does",
  "runtime-directory": "the runtime reads another directory than the one that was examined",
  "runtime-load-failed": "the runtime could not load its configurations",
  "runtime-not-ready": "the runtime says that its network is not ready",
  "runtime-plugin-directory": "the runtime looks for plugins in another directory",
  "runtime-silent": "the runtime did not answer",
  "runtime-stale": "the runtime uses another network than its files say",
  "set-aside":
    "a configuration was renamed, so no runtime reads it; reported if its name would come first, if nothing else is there, or if cni-node installed it",
  "set-aside-by-cilium": "Cilium renamed such a configuration",
  "stale-twin": "two files differ in their extension only, and the first hides the other",
  "state-untrusted":
    "a user other than root may have written `.cni-node`, so cni-node does not use it; find out who, then move it away or take it back",
  "templates-ignored": "a ConfigMap of templates or manifests has keys that cannot be used",
  "variable-unsupported": "a manifest holds `${NAME…}` with an operator of a shell, which cni-node does not substitute",
  "version-missing": "the configuration has no `cniVersion`, or spells it differently",
  "version-too-new": "the `cniVersion` is newer than any known version",
  "version-unknown": "the `cniVersion` is not a version of the CNI specification",
  "version-unsupported": "a plugin does not support the `cniVersion`",
  "watch-failing": "the last reconcile of `watch` failed; what it installed before stays",
  "watch-stands-down":
    "a `watch` does not repair anything: an uninstall has removed its assets, or a newer `watch` runs",
  "watch-unanswered": "a `watch` has a socket on this node and does not answer",
  "watch-unseen": "`watch` cannot listen in a directory, so `status` and `uninstall` do not find it",
  "writable-by-others": "users other than root may write to a plugin or to a target directory",
};

/** The code of a finding. */
export type FindingCode = keyof typeof FINDING_CODES;

/**
 * Every other code of an error (`Failure`), and what it means: also stable, also a table of docs/troubleshooting.md.
 * `system-*` stands for the system's own codes.
 */
export const FAILURE_CODES = {
  "account-missing": "the service account that a token is for does not exist",
  "address-taken":
    "an address that is asked for is in use: by another container, by the host or by the network namespace itself",
  "answer-invalid":
    "the API answered with something else than Kubernetes does: another server, or a proxy, is at its address",
  "answer-too-large": "an answer of the API is larger than cni-node reads",
  "api-forbidden":
    "the rights of cni-node do not allow a request; the hint names the rule that its Role or ClusterRole needs",
  "api-refused": "the API refused a request, with the reason in the message; this is not about rights",
  "api-unauthorized": "the API does not accept the credentials of cni-node: they are wrong or have expired",
  "api-unreachable": "the Kubernetes API cannot be reached, or did not answer in time",
  "apply-conflict": "others manage fields of an object that a manifest sets",
  "attachment-ambiguous": "more than one attachment or container ID matches the command",
  "attachments-of-others": "`network gc` would delete attachments that cni-node did not add",
  "cache-damaged": "a file in the cache of attachments is not an attachment",
  "cache-too-large": "the cache of attachments, or a file in it, is larger than cni-node reads",
  "catalogue-invalid": "the catalogue of plugins in the image is not a catalogue",
  "catalogue-mismatch": "a plugin in the image is not the binary that the catalogue of the image describes",
  "chain-held": "a configuration that is to be installed has the name of a list of others with plugins of `--chain`",
  "chain-invalid": "a template of `--chain` is not the configuration of one plugin",
  "chain-network":
    "the network that `--chain` names has no configuration, or its configuration is not a list that can be edited",
  "chain-own": "cni-node itself installs the list that `--chain` would edit, or another owner's plugins are in it",
  "chain-version": "the network that `--chain` names has a CNI version without lists of plugins",
  "changed-meanwhile": "another program changed a file while a run looked at it; nothing was changed",
  "changed-while-proved": "another program changed a new file while a run tried it; nothing was changed",
  "cni-decoding-failure":
    "a plugin could not decode its input, or its answer cannot be decoded (code 6 of the CNI specification)",
  "cni-failed": "an operation on a network failed outside of a plugin, for a reason that none of the other codes names",
  "cni-incompatible-version":
    "a plugin does not support the `cniVersion`, or that version lacks the operation (code 1)",
  "cni-invalid-config": "a plugin, or cni-node before it runs one, refuses the network configuration (code 7)",
  "cni-invalid-environment": "a container ID, interface name, argument or other `CNI_` variable is not valid (code 4)",
  "cni-io-failure": "a plugin, or the cache of attachments, could not read or write (code 5)",
  "cni-limited-connectivity": "a plugin's STATUS says that new containers will have limited connectivity (code 51)",
  "cni-plugin-failed": "a plugin failed with a code of its own, or with none",
  "cni-plugin-not-available": "a plugin's STATUS says that it cannot add containers now (code 50)",
  "cni-try-again-later":
    "a plugin asks to be called again later, or another process holds the lock on the cache of attachments (code 11)",
  "cni-unknown-container": "a plugin, or the cache of attachments, does not know the container (code 3)",
  "cni-unsupported-field": "a plugin does not support a field of its configuration (code 2)",
  "config-too-large": "a configuration would be larger than cni-node installs",
  "credentials-failed": "the credential program that the kubeconfig names failed, or did not answer in time",
  "credentials-own":
    "`--kubeconfig` names a kubeconfig that this run keeps fresh itself: it could not be renewed once it has expired",
  "cri-failed": "the container runtime answered a question with an error",
  "cri-refused": "no container runtime listens at the socket",
  "cri-socket-denied": "this user, or a security module, does not allow cni-node to use the container runtime's socket",
  "cri-socket-invalid": "`--cri-socket` does not name a socket, or cni-node cannot connect to it",
  "cri-socket-missing": "the container runtime's socket does not exist, or its directory is not mounted",
  "cri-timeout": "the container runtime did not answer in time",
  "cri-unavailable":
    "a server at the socket does not answer calls: it is not a container runtime, or it has not started yet",
  "cri-unsupported": "the server at the socket does not serve CRI v1",
  "daemon-config-invalid": "daemon.json is not what dockerd reads; nothing was changed",
  "daemon-config-refused":
    "dockerd does not accept the daemon.json that `engine enable` would write; nothing was changed",
  "daemon-flags":
    "dockerd is started with a flag for what `engine enable` would write into daemon.json, and it accepts only one of the two",
  "daemon-not-reloaded": "dockerd did not load the runtime that `engine enable` wrote into daemon.json",
  "dangling-link": "a link on the way to a target directory leads nowhere below the host root",
  "default-route-taken": "a network brings a default route, and the network namespace has one already",
  "delegate-keys-invalid":
    "the template of `--delegate-keys` is not an object of keys for Multus, or sets one that cni-node makes itself",
  "delegate-kubeconfig": "Multus needs a kubeconfig, and neither `--credentials` nor `--delegate-keys` names one",
  "delegate-path": "the path of the primary on the node is not known: `--host-config-path` names its directory",
  "desired-invalid": "the ConfigMap that says what is desired cannot be used; what is installed stays",
  "desired-missing": "the ConfigMap that says what is desired does not exist; what is installed stays",
  "docker-silent": "dockerd does not answer at its socket",
  "engine-proof-failed": "the container that `engine enable` tried got no network, or could not be started or removed",
  "file-is-mount": "a file cannot be replaced, because it is mounted by itself; mount its directory",
  "file-too-large": "a file is larger than cni-node reads of its kind",
  "held-by-other": "another owner (`--owner`) has installed the asset with other content",
  "host-unreachable":
    "cni-node cannot run plugins as the host does: it lacks the host's processes, capabilities or directories",
  "interface-taken": "the network namespace has an interface of that name already",
  internal: "cni-node itself has a defect; please report it with the text of the message",
  interrupted: "a signal ended the run; the exit code is 128 plus the number of the signal",
  "iproute-failed": "`ip` of iproute2 failed, so routes could not be read or changed",
  "iproute-missing": "`ip` of iproute2 is missing, or `ip` is another program",
  "kept-shared": "an object that the run made stays in the cluster, although the run was undone: others use it by now",
  "listen-failed": "`--listen` names an address or port that cni-node cannot listen on",
  "lock-timeout": "another run of cni-node kept its lock on a directory longer than `--lock-timeout`",
  "lock-unusable": "the file of a lock cannot be locked: it is damaged, or its file system has no locks",
  "manifest-empty": "a manifest has no objects any more, and `--prune` would delete all that were applied from it",
  "manifest-invalid":
    "a manifest is not YAML of Kubernetes objects, or two manifests define the same object differently",
  "mount-misplaced": "a directory of the node is mounted at the host root itself, not at its own path below it",
  "mount-missing": "a directory of the node is not mounted where cni-node looks for it",
  "netns-exists": "`--new` would make a network namespace, and one of that name, or a file, is there already",
  "netns-failed": "a network namespace could not be made or deleted",
  "netns-missing":
    "the target has no network namespace of its own, or another one than the one that was added to the network",
  "netns-of-host": "the target is in the host's network, which cni-node does not change",
  "netns-unknown": "the network namespace of an attachment may still be there, and no path leads to it",
  "netns-unreadable": "cni-node cannot look into a network namespace",
  "network-lost": "the container runtime lost its network by the change, so the change was undone",
  "network-missing": "the directory of configurations lacks the named network, or has no network at all",
  "no-cluster":
    "manifests or credentials need the Kubernetes API, and there is neither a kubeconfig nor a service account",
  "no-hard-links": "the file system of a target directory has no hard links, which cni-node needs to undo a run",
  "node-missing": "the cluster has no Node with the name of this node (`--node-name`)",
  "not-a-directory": "a directory was expected, and something else is there",
  "not-a-file":
    "a regular file was expected, and something else is there: often the directory that `docker run -v` makes",
  "not-established": "the API does not serve the kind of a CustomResourceDefinition in time",
  "not-gone": "an object is being deleted, and its finalizers still hold it",
  "not-removed": "some objects of manifests were not deleted, everything else is done; exit code 4",
  "not-text": "a template or manifest is not UTF-8",
  "not-undone": "a run failed, and not everything could be undone; the message names what is left; exit code 4",
  "oci-config-invalid": "the configuration of the OCI wrapper cannot be used",
  "oci-config-untrusted":
    "a user other than root may write to the configuration of the OCI wrapper, which names programs that root runs",
  "oci-front-missing": "a part of the OCI wrapper is missing beside the program",
  "oci-request-invalid": "an annotation or variable with which a container asks for a network has a wrong value",
  "oci-request-unsupported": "a container asks for something that its network or its engine cannot give",
  "oci-request-untrusted":
    "a container asks for a network by annotations, which may come from its image and do not count",
  "oci-runtime-failed": "the OCI runtime behind the wrapper could not be run",
  "oci-runtime-missing": "the OCI runtime behind the wrapper is missing, or is the wrapper itself",
  "oci-spec-invalid": "the config.json of a container is not what an OCI runtime reads",
  "oci-state-invalid": "the state of a container, which its hook gets from the OCI runtime, cannot be used",
  "outside-host-root": "a link leads out of the host root, so cni-node does not follow it",
  "own-node-unknown": "cni-node cannot tell which Node it runs on; no route was changed",
  "path-unsupported": "the path of the program has characters that dockerd passes to a shell",
  "pod-cidr-place": "`--inject-pod-cidr` finds no bridge plugin for the podCIDRs, or more than one",
  "pointer-cycle": "the pointers of a template lead back to itself",
  "pointer-depth": "a template reaches another through too many pointers",
  "pointer-in-string": "a pointer to a file is inside a JSON string, where no file can be",
  "pointer-invalid": "a template has a word that looks like a pointer and is not one",
  "pointer-missing": "the file that a pointer of a template names does not exist, or is empty",
  "primary-invalid": "the configuration that would be the primary cannot be loaded",
  "primary-missing": "no configuration in net.d can be the primary",
  "proc-missing": "/proc is not mounted as this process needs it",
  "program-missing": "the program that engines are to call is missing in its directory",
  "program-untrusted": "a user other than root may write to the program that engines would run as root",
  "program-unusable": "the host cannot run the Node.js that `engine enable` copies to it",
  "record-too-large": "a directory would have more assets than a record can hold",
  "recovery-failed": "an interrupted run was finished, but its files could not be cleaned up",
  "recovery-incomplete": "an interrupted run cannot be finished, because a directory that it wrote to is not here",
  "runtime-directory-unknown":
    "`auto` is given for a directory, and nothing says which one the container runtime reads",
  "runtime-exists": "the engine has a runtime of that name that cni-node did not set",
  "runtime-foreign": "the runtime that `engine disable` would remove was not set by cni-node, so it stays",
  "runtime-in-use": "containers still need the runtime that would be changed or removed",
  "runtime-is-default": "the runtime that would be removed is the engine's default",
  "runtime-reserved": "`--runtime-name` is a name that dockerd uses itself",
  "source-missing": "the image has no plugin, template or manifest of that name, or no directory of them",
  "system-*":
    "the operating system refused something: after `system-` is its own name for the reason in lower case, such as `system-enospc` (the disk is full), `system-erofs` (mounted read-only), `system-eacces` (not allowed)",
  "target-ambiguous": "more than one container that was added to the network matches the target",
  "target-missing": "no container or network namespace matches the target, or more than one does",
  "templates-duplicate": "two ConfigMaps have a template or manifest of the same name; what is installed stays",
  "templates-invalid": "a ConfigMap of templates or manifests cannot be used; what is installed stays",
  "templates-missing": "a ConfigMap of templates or manifests does not exist; what is installed stays",
  usage: "an option, an argument or a variable is wrong, and nothing was tried; exit code 2",
  "usage-command": "the command is missing or unknown, and nothing was tried; exit code 2",
  "value-missing": "a variable of a template has no value on this node",
  "variable-unset": "a manifest uses a variable that is not set in the environment",
};

/** The code of an error. One that is a finding, too, means the same: what a check objects to may refuse a run. */
export type FailureCode = FindingCode | keyof typeof FAILURE_CODES | `system-${string}`;
