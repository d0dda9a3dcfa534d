#!/usr/bin/env python3
"""Clients of a management server of XProtect that this project did not write, and a plain one: each logs in and says, as a JSON
object a line, what it was told.

  xprotect_clients.py URL CLIENT NAME PASSWORD [again]

CLIENT: `soap` (milestonexprotectwspython, HTTP Basic, SOAP 1.1), `soap-older` (the same at the .asmx), `rest`
(milestonexprotectrestpython through the gateway), `ntlm` (requests_ntlm at the .asmx), `oauth` (discovery, access token, Login, renewal, as vendors'
samples do it). With `again`, for each line on standard input it asks again for what it was told, on the token that it has; `login` logs in anew;
`token` tells the token;
`call OPERATION XML` asks that (`{token}` in it is the token it has);
`play GUID MS` connects with its token to the recorder that it was told of, and asks for the picture of that instant.

Certificates are held against the authority in REQUESTS_CA_BUNDLE; without it they are not looked at.
"""

import json
import os
import re
import sys
import urllib.parse
import uuid
import warnings
import xml.etree.ElementTree as ElementTree

import requests

warnings.filterwarnings("ignore")
CA = os.environ.get("REQUESTS_CA_BUNDLE")
if CA:
    # Some of the packages ask in a way that does not look at it.
    requests.adapters.DEFAULT_CA_BUNDLE_PATH = CA
NS = "http://videoos.net/2/XProtectCSServerCommand"
ENVELOPE = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body></s:Envelope>'


def say(**told):
    print(json.dumps(told), flush=True)


def local(tag):
    return tag.rsplit("}", 1)[-1]


class From(requests.adapters.HTTPAdapter):
    """Connects from another address of this machine."""

    def init_poolmanager(self, *arguments, **more):
        super().init_poolmanager(*arguments, source_address=(os.environ["CLIENT_ADDRESS"], 0), **more)


class Oauth:
    """As the vendor's samples do it, down to the patterns by which they look for fields, and the order in which they expect them."""

    path = "/ManagementServer/ServerCommandServiceOAuth.svc"

    def __init__(self, url, name, password):
        self.url, self.name, self.password = url, name, password
        self.session, self.instance, self.token = requests.Session(), str(uuid.uuid4()), ""
        self.session.verify = CA or False
        self.session.trust_env = False
        if "CLIENT_ADDRESS" in os.environ:
            self.session.mount("http://", From())
        self.auth = None

    def login(self):
        found = self.session.get(f"{self.url}/idp/.well-known/openid-configuration", timeout=20)
        found.raise_for_status()
        version = re.search(r'"server_version":"(\d{1,2})\.\d', found.text)
        assert version and int(version[1]) >= 21, found.text
        endpoint = found.json()["token_endpoint"]
        form = {"grant_type": "password", "username": self.name, "password": self.password, "client_id": "GrantValidatorClient"}
        answer = self.session.post(endpoint, data=form, timeout=20)
        if answer.status_code != 200:
            return {"refused": answer.json()["error"], "status": answer.status_code}
        self.session.headers["Authorization"] = "Bearer " + re.search(r'"access_token":"([^"]*)"', answer.text)[1]
        assert re.search(r'"expires_in":\d+', answer.text), answer.text
        return self.enter(endpoint)

    def enter(self, endpoint=None):
        status, result = self.call("Login", f"<instanceId>{self.instance}</instanceId><currentToken>{self.token}</currentToken>")
        if result is None:
            return {"refused": "Login", "status": status}
        names = [local(child.tag) for child in result]
        assert names == sorted(names), f"members out of order are skipped: {names}"
        self.token = result.findtext(f"{{{NS}}}Token")
        life = int(result.find(f"{{{NS}}}TimeToLive").findtext(f"{{{NS}}}MicroSeconds"))
        host = urllib.parse.urlsplit(endpoint).netloc if endpoint else None
        return {"token_of": self.token.split("#")[2], "life_s": life // 1_000_000, "endpoint": host}

    def call(self, operation, inner):
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{NS}/IServerCommandService/{operation}"'}
        body = ENVELOPE.format(f'<{operation} xmlns="{NS}">{inner}</{operation}>')
        answer = self.session.post(self.url + self.path, data=body.encode(), headers=headers, auth=self.auth, timeout=30)
        if answer.status_code != 200:
            return answer.status_code, None
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        result = ElementTree.fromstring(answer.content).find(f".//{{{NS}}}{operation}Result")
        return 200, result if result is not None else ElementTree.Element("none")

    def asked(self, operation, *inner):
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{NS}/IServerCommandService/{operation}"'}
        body = ENVELOPE.format(f'<{operation} xmlns="{NS}">{" ".join(inner).replace("{token}", self.token)}</{operation}>')
        answer = self.session.post(self.url + self.path, data=body.encode(), headers=headers, auth=self.auth, timeout=30)
        root = ElementTree.fromstring(answer.content)
        texts = [element.text for element in root.iter() if element.text and element.text.strip()]
        return {"status": answer.status_code, "kind": local(root[0][0].tag), "texts": texts, "took_s": answer.elapsed.total_seconds()}

    def told(self):
        status, result = self.call("GetConfiguration", f"<token>{self.token}</token>")
        if result is None:
            return {"refused": "GetConfiguration", "status": status}
        found = [self.recorder(info) for info in result.iter(f"{{{NS}}}RecorderInfo")]
        number = result.find(f".//{{{NS}}}RecorderInfo").findtext(f"{{{NS}}}RecorderId")
        _, one = self.call("QueryRecorderInfo", f"<token>{self.token}</token><recorderId>{number}</recorderId>")
        assert self.recorder(one) == found[0], "one recorder is told of otherwise than all"
        return {"recorders": found}

    def play(self, camera, instant):
        import imageserver_client

        uri = self.told()["recorders"][0]["uri"]
        found = urllib.parse.urlsplit(uri)
        connection = imageserver_client.Connection(found.port, CA if found.scheme == "https" else None)
        connection.send("connect", **imageserver_client.connect_elements({"camera": camera, "token": self.token}))
        connected = connection.message()
        if connected["connected"] != "yes":
            return {"connected": False}
        connection.send("goto", time=int(instant))
        return {"connected": True, "picture": connection.message()}

    def recorder(self, info):
        cameras = [camera.findtext(f"{{{NS}}}Name") for camera in info.iter(f"{{{NS}}}CameraInfo")]
        return {"uri": info.findtext(f"{{{NS}}}WebServerUri"), "host": info.findtext(f"{{{NS}}}HostName"), "cameras": cameras}


class Ntlm(Oauth):
    path = "/ServerAPI/ServerCommandService.asmx"

    def login(self):
        from requests_ntlm import HttpNtlmAuth

        self.auth = HttpNtlmAuth(self.name, self.password, send_cbt=False)
        return self.enter()


class Soap:
    def __init__(self, url, name, password, older=False):
        from milestonexprotectwspython.xpwservercommandservice import XPWServerCommandService

        self.service, self.name, self.password, self.older = XPWServerCommandService(), name, password, older
        self.service.ManagementServerUrlPrefix = self.service.ServerApiUrlPrefix = url
        self.service.IsSslVerifyEnabled = bool(CA)

    def login(self):
        login = self.service.LoginWindowsUser if self.older else self.service.LoginBasicUser
        return {"token_of": login(self.name, self.password).Token.split("#")[2]}

    def told(self):
        found = self.service.GetConfiguration()
        return {"recorders": [{"uri": recorder.WebServerUri, "host": recorder.HostName, "cameras": [camera.Name for camera in recorder.Cameras]} for recorder in found.Recorders]}


class Rest:
    def __init__(self, url, name, password):
        from milestonexprotectrestpython.xprrestservice import XPRRestService

        self.service, self.name, self.password = XPRRestService(), name, password
        self.service.ApiGatewayUrlPrefix = url
        self.service.IsSslVerifyEnabled = bool(CA)

    def login(self):
        self.service.LoginBasicUser(self.name, self.password)
        return {}

    def told(self):
        recorders, cameras, sites = self.service.GetRecordingServers(), self.service.GetCameras(), self.service.GetSites()
        names = [camera.Name for camera in cameras]
        told = [{"uri": recorder.WebServerUri, "active": recorder.ActiveWebServerUri, "host": recorder.HostName, "port": recorder.PortNumber, "cameras": names} for recorder in recorders]
        return {"recorders": told, "site": [site.MasterSiteAddress for site in sites]}


def main():
    url, kind, name, password, *again = sys.argv[1:]
    make = {"soap": Soap, "soap-older": lambda *a: Soap(*a, older=True), "rest": Rest, "ntlm": Ntlm, "oauth": Oauth}[kind]
    client = make(url, name, password)

    def run(step):
        try:
            say(**step())
        except Exception as error:
            say(failed=f"{type(error).__name__}: {error}"[:300])

    run(client.login)
    run(client.told)
    for line in sys.stdin if again else []:
        word, *rest = line.split()
        run({"login": client.login, "told": client.told, "token": lambda: {"token": client.token}, "call": lambda: client.asked(*rest), "play": lambda: client.play(*rest)}[word])  # noqa: B023


if __name__ == "__main__":
    main()
