"""Objects of a stream of YAML documents on standard input, as JSON on standard output, one in a line.

With versions as arguments each object is held against the schemas of these versions of Kubernetes, unknown fields being
errors. Kinds that Kubernetes itself does not have (those of operators) are left to the caller.
"""

import json
import sys

import kubernetes_validate
import yaml

failed = False
for document in yaml.safe_load_all(sys.stdin):
    if document is None:
        continue
    for version in sys.argv[1:]:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            if document["apiVersion"].split("/")[0].endswith("coreos.com"):
                continue
            print(f"{document['apiVersion']} {document['kind']} is not in Kubernetes {version}", file=sys.stderr)
            failed = True
        except kubernetes_validate.ValidationError as error:
            where = f"{document['kind']}/{document['metadata']['name']}"
            print(f"{where}, Kubernetes {version}: {error.message} at {list(error.path)}", file=sys.stderr)
            failed = True
    print(json.dumps(document))
sys.exit(failed)
