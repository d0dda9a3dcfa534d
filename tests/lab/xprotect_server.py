"""What a management server of XProtect has besides logins by access token: the older service with NTLM, the gateway, registered
services, service descriptions, WebSockets. For xprotect_site.py; written from what is known of the wire alone."""

import atexit
import base64
import glob
import hashlib
import json
import os
import ssl
import struct
import sys
import tempfile

import frames

SERVER_TYPE = "a10cd823-bb4e-4d31-a162-dd236fc78fa6"
EVENTS_TYPE = "11111111-bb4e-4d31-a162-dd236fc78fa6"
OLDER = "/serverapi/servercommandservice.asmx"
# A server calls itself by its own name, whatever it was asked by.
MACHINE = "vmshost"


def acceptor(site, certificate):
    """Who checks a proof of NTLM: pyspnego, against the accounts of the site; inside TLS with the certificate bound in (RFC 5929)."""
    packages = glob.glob(os.path.join(os.path.dirname(__file__), "../.lab/venv/lib/python3*/site-packages"))
    sys.path.extend(folder for folder in packages if folder not in sys.path)
    import spnego
    from spnego.channel_bindings import GssChannelBindings

    if "NTLM_USER_FILE" not in os.environ:
        accounts = tempfile.NamedTemporaryFile("w", suffix=".accounts", delete=False)
        for account in filter(None, (site.user, site.narrow, site.windows)):
            name, _, password = account.partition(":")
            domain, _, name = name.rpartition("\\")
            # Where none is named, in whatever domain.
            for domain in [domain] if domain else ["YARD", ""]:
                accounts.write(f"{domain}:{name}:{password}\n")
        accounts.close()
        os.environ["NTLM_USER_FILE"] = accounts.name
        atexit.register(os.unlink, accounts.name)
    bound = None
    if certificate and site.extended:
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).digest()
        bound = GssChannelBindings(application_data=b"tls-server-end-point:" + digest)
    return spnego.server(protocol="ntlm", channel_bindings=bound), bound and hashlib.md5(bound.pack()).digest()


def ntlm_user(message):
    (length, _, start), (domain_length, _, domain_start) = struct.unpack_from("<HHI", message, 36), struct.unpack_from("<HHI", message, 28)
    names = message[domain_start : domain_start + domain_length], message[start : start + length]
    return "\\".join(name.decode("utf-16-le") for name in names if name)


def windows(handler, headers):
    """Whether this connection has proved itself; else the answer that asks it to."""
    if getattr(handler, "windows", None):
        return None
    site = handler.site
    kind, _, shown = headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic" and site.accepts(*base64.b64decode(shown).decode().split(":", 1)):
        return None
    if kind.lower() in site.schemes and shown:
        message = base64.b64decode(shown)
        if message[8:12] == b"\x01\0\0\0":
            handler.acceptor, handler.bound = acceptor(site, site.certificate)
            challenge = base64.b64encode(handler.acceptor.step(message)).decode()
            return 401, "text/html", "<html>401</html>", {"WWW-Authenticate": f"{kind} {challenge}"}
        if message[8:12] == b"\x03\0\0\0" and getattr(handler, "acceptor", None):
            try:
                handler.acceptor.step(message)
                # pyspnego lets in who binds nothing.
                proved = handler.acceptor.complete and (not handler.bound or handler.bound in message)
            except Exception as error:
                frames.emit(event="call", name=f"refused {type(error).__name__}")
                proved = False
            if proved:
                handler.windows = ntlm_user(message)
                frames.emit(event="call", name="proved")
                return None
            handler.acceptor = None
    offered = {name: "" for name in site.schemes}
    return 401, "text/html", "<html>401</html>", {"WWW-Authenticate": ", ".join({"ntlm": "NTLM", "negotiate": "Negotiate"}[name] for name in offered)}


def services(host):
    def entry(kind, name, *uris):
        listed = "".join(f"<a:string>{uri}</a:string>" for uri in uris)
        definition = f'&lt;endpoints xmlns="http://schemas.videoos/endpoints"&gt;&lt;endpoint uri="{uris[0]}"/&gt;&lt;/endpoints&gt;'
        return (
            f"<ServiceInfo><description/><enabled>true</enabled><endpointdefinition>{definition}</endpointdefinition>"
            f"<instance>{kind}</instance><name>{name}</name><trusted>true</trusted><type>{kind}</type><uri>{listed}</uri></ServiceInfo>"
        )

    server = entry(SERVER_TYPE, "Management Server", f"http://{host}/ManagementServer/ServerCommandService.svc", f"https://{MACHINE}/ServerAPI/ServerCommandService.asmx")
    return (
        '<GetServicesResponse xmlns="http://schemas.videoos/ServiceRegistrationService/2008/06/Vmo/01"><GetServicesResult '
        'xmlns:a="http://schemas.microsoft.com/2003/10/Serialization/Arrays">'
        f'{server}{entry(EVENTS_TYPE, "Event Server", "http://events.example:22331/Central/")}</GetServicesResult></GetServicesResponse>'
    )


def description(host, scheme):
    path = "ManagementServer/ServerCommandService.svc"
    return (
        '<?xml version="1.0" encoding="utf-8"?><wsdl:definitions name="ServerCommandService" targetNamespace="http://tempuri.org/" '
        'xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/">'
        f'<wsdl:import namespace="http://videoos.net/2/XProtectCSServerCommand" location="{scheme}://{host}/{path}?wsdl=wsdl0"/>'
        f'<wsdl:service name="ServerCommandService"><wsdl:port name="Basic"><soap:address location="https://{host}/{path}"/></wsdl:port>'
        f'<wsdl:port name="WS"><soap:address location="http://{MACHINE}/{path}"/></wsdl:port></wsdl:service></wsdl:definitions>'
    )


def gateway(site, path, scheme, host, recorder, camera, hardware):
    """A resource of the REST gateway, or None."""
    own = f"{scheme}://{host}"
    link = lambda kind, number: {"self": {"type": kind, "id": number}}
    address = f"{scheme}://localhost:{site.port}/"
    recorders = [
        {
            "displayName": "Recorder", "enabled": True, "id": recorder, "name": "Recorder", "description": "", "lastModified": "2025-01-01T00:00:00Z",
            "synchronizationTime": -1, "timeZoneName": "UTC", "hostName": "localhost", "portNumber": site.port, "webServerUri": address,
            "activeWebServerUri": address, "publicAccessEnabled": False, "publicWebserverHostName": "", "publicWebserverPort": 0, "shutdownOnStorageFailure": False,
            "multicastServerAddress": "0.0.0.0", "relations": link("recordingServers", recorder),
        }
    ]
    cameras = [
        {
            "displayName": "Gate", "enabled": True, "id": camera, "name": "Gate", "shortName": "", "description": "", "channel": 0, "icon": 0, "lastModified": "2025-01-01T00:00:00Z",
            "relations": link("cameras", camera) | {"parent": {"type": "hardware", "id": hardware}},
        }
    ]
    sites = [
        {
            "displayName": "vms", "id": "dddddddd-2222-3333-4444-555555555555", "name": "vms", "description": "", "masterSiteAddress": f"{own}/", "lastModified": "2025-01-01T00:00:00Z",
            "computerName": MACHINE, "domainName": "", "platform": "", "processors": 1, "serviceAccount": "", "synchronizationStatus": 0, "timeZone": "", "version": "25.2",
            "relations": link("sites", "dddddddd-2222-3333-4444-555555555555"),
        }
    ]
    children = [{"displayName": "child", "id": "eeeeeeee-2222-3333-4444-555555555555", "siteAddresses": [{"addressType": "External", "url": site.child}]}] if site.child else []
    registered = [
        {"displayName": "Management Server", "id": "1", "type": SERVER_TYPE, "uriArray": [f"{own}/ManagementServer/", f"http://{MACHINE}/ServerAPI/"]},
        {"displayName": "Event Server", "id": "2", "type": EVENTS_TYPE, "uriArray": ["http://events.example:22331/"]},
    ]
    known = {"recordingservers": recorders, "cameras": cameras, "sites": sites, "childsites": children, "registeredservices": registered}
    kind, _, number = path.removeprefix("/api/rest/v1/").partition("/")
    if kind not in known:
        return 404, "application/json", json.dumps({"error": {"httpCode": 404, "details": [{"errorText": f"Unknown resource: {kind}"}]}})
    if number:
        found = [entry for entry in known[kind] if entry["id"] == number]
        return (200, "application/json", json.dumps({"data": found[0]})) if found else (404, "application/json", "{}")
    return 200, "application/json; charset=utf-8", json.dumps({"array": known[kind]}, indent=1)
