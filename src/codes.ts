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
  "config-invalid": "the file that runtimes would use cannot be loaded",
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
    "a kubeconfig that a configuration names cannot work: its server, authority, context or form is wrong, or a placeholder is left in it",
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
  "probe-failed": "`--probe`: a network failed that failed before the run, too, or `--validate` is not strict",
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
} as const;

/** The code of a finding. */
export type FindingCode = keyof typeof FINDING_CODES;
