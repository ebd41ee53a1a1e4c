/** Answers of an API server that has nothing but ConfigMaps. */

/** To `GET /api/v1`. */
export const RESOURCES = {
  kind: "APIResourceList",
  apiVersion: "v1",
  groupVersion: "v1",
  resources: [
    {
      name: "configmaps",
      singularName: "configmap",
      namespaced: true,
      kind: "ConfigMap",
      verbs: ["get", "patch", "delete"],
    },
  ],
};

/** To a request for an object that does not exist; with status 404. */
export const ABSENT = {
  kind: "Status",
  apiVersion: "v1",
  status: "Failure",
  reason: "NotFound",
  code: 404,
  message: "not found",
};
