#!/usr/bin/python3
"""zeep, which knows nothing of XProtect, at the WSDL of a recorder's port: what it makes of each operation, as JSON.

Runs in the folder of packages that `tests/run venv` makes. Inside TLS where it is asked by an address that begins with https, whose
certificate is held against REQUESTS_CA_BUNDLE.
"""

import json
import sys
from datetime import datetime, timezone

import zeep

RECORDING = "f9c62604-d0c5-4050-ae25-72de51639b14"


def main(port, camera, token, start, end, still):
    at = port if "://" in port else f"http://127.0.0.1:{port}"
    client = zeep.Client(f"{at}/RecorderCommandService/RecorderCommandService.asmx?wsdl")
    service = client.service
    moment = lambda ms: datetime.fromtimestamp(int(ms) / 1000, timezone.utc)  # noqa: E731
    spans = lambda entries: [[round(at.timestamp() * 1000) for at in (entry.TimeBegin, entry.TimeEnd)] for entry in entries or []]  # noqa: E731
    window = {"token": token, "deviceId": camera, "sequenceType": RECORDING}
    middle = moment((int(start) + int(end)) // 2)
    span = {"MicroSeconds": (int(end) - int(start)) * 1000}
    picture = service.JPEGGetAtOrBefore(token=token, deviceId=camera, time=moment(still))
    told = {
        "types": [kind.Name for kind in service.SequencesGetTypes(token=token, deviceId=camera)],
        "all": spans(service.SequencesGet(**window, minTime=moment(start), maxTime=moment(end), maxCount=100)),
        "first": spans(service.SequencesGet(**window, minTime=moment(start), maxTime=moment(end), maxCount=1)),
        "around": spans(service.SequencesGetAround(**window, centerTime=middle, maxCountBefore=5, maxCountAfter=5)),
        "span": spans(
            service.SequencesGetAroundWithSpan(**window, centerTime=moment(start), maxTimeBefore={"MicroSeconds": 0}, maxCountBefore=0, maxTimeAfter=span, maxCountAfter=300)
        ),
        "still": [round(picture.Time.timestamp() * 1000), picture.Data.rstrip(b"\0").decode()],
    }
    try:
        service.SequencesGet(**{**window, "token": "nobody's"}, minTime=moment(start), maxTime=moment(end), maxCount=1)
        told["stranger"] = "is told"
    except zeep.exceptions.Fault as fault:
        told["stranger"] = fault.message
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
