"""A producer at a machine's OBS, by obsws-python, an OBS client of other people.

  producer.py build SERVER KEY   makes a studio for a show
  producer.py read               prints what the studio is, as JSON
  producer.py bitrate KBIT_S     sets the bit rate of what is streamed and recorded from the next start on
  producer.py record             starts a recording
  producer.py stop-recording     ends it, and returns when its file is complete
"""

import json
import logging
import sys
import time

import obsws_python

PASSWORD = "correct horse"
DEADLINE_S = 10

# Its tracebacks go to the caller, who waits until it works.
logging.disable(logging.CRITICAL)


def build(obs, server, key):
    # A clip that moves, on a floor, behind a bar: an order to keep, and transforms to keep.
    obs.create_scene("Floor")
    obs.create_input("Floor", "Background", "color_source_v3", {"color": 0xFF804020, "width": 320, "height": 180}, True)
    clip = {"is_local_file": True, "local_file": "/home/ubuntu/moving.mkv", "looping": True, "hw_decode": False}
    camera = obs.create_input("Floor", "Camera 1", "ffmpeg_source", clip, True).scene_item_id
    transform = {"positionX": 20.0, "positionY": 10.0, "scaleX": 0.75, "scaleY": 0.75, "rotation": 5.0, "cropTop": 8}
    obs.set_scene_item_transform("Floor", camera, transform)
    bar = obs.create_input("Floor", "Bar", "color_source_v3", {"color": 0xFF00FF00, "width": 320, "height": 12}, True)
    obs.set_scene_item_transform("Floor", bar.scene_item_id, {"positionY": 168.0})
    obs.set_scene_item_locked("Floor", bar.scene_item_id, True)
    obs.set_input_volume("Camera 1", vol_db=-12.5)

    obs.create_scene("Vault")
    obs.create_scene_item("Vault", "Camera 1", True)
    hidden = obs.create_scene_item("Vault", "Bar", True).scene_item_id
    obs.set_scene_item_enabled("Vault", hidden, False)

    obs.create_scene("Break")
    text = {"text": "Back soon", "font": {"face": "Sans", "size": 64}}
    obs.create_input("Break", "Words", "text_ft2_source_v2", text, True)
    obs.set_input_mute("Camera 1", True)

    obs.set_current_program_scene("Floor")
    obs.remove_scene("Scene")
    obs.set_stream_service_settings("rtmp_custom", {"server": server, "key": key})


TRANSFORM = ("positionX", "positionY", "scaleX", "scaleY", "rotation", "cropTop", "cropLeft", "cropRight", "cropBottom")


def read(obs):
    scenes = obs.get_scene_list()
    found = {"program": scenes.current_program_scene_name, "scenes": {}, "inputs": {}}
    # OBS lists scenes from the bottom up.
    for scene in reversed(scenes.scenes):
        name = scene["sceneName"]
        found["scenes"][name] = [
            {
                "source": item["sourceName"],
                "enabled": item["sceneItemEnabled"],
                "locked": item["sceneItemLocked"],
                "transform": [round(item["sceneItemTransform"][key], 3) for key in TRANSFORM],
            }
            for item in obs.get_scene_item_list(name).scene_items
        ]
    for source in obs.get_input_list().inputs:
        name = source["inputName"]
        settings = obs.get_input_settings(name)
        about = {"kind": settings.input_kind, "settings": settings.input_settings}
        if source["inputKind"] == "ffmpeg_source":
            about["volume"] = round(obs.get_input_volume(name).input_volume_db, 3)
            about["muted"] = obs.get_input_mute(name).input_muted
        found["inputs"][name] = about
    service = obs.get_stream_service_settings()
    found["stream"] = {"kind": service.stream_service_type, "settings": service.stream_service_settings}
    print(json.dumps(found))


def bitrate(obs, kbit_s):
    obs.set_profile_parameter("SimpleOutput", "VBitrate", kbit_s)


def record(obs):
    obs.start_record()


def stop_recording(obs):
    obs.stop_record()
    # OBS completes the file after its answer, and refuses the next recording until then.
    until = time.monotonic() + DEADLINE_S
    while obs.get_record_status().output_active:
        if time.monotonic() > until:
            sys.exit("the recording does not end")
        time.sleep(0.05)


DOES = {"build": build, "read": read, "bitrate": bitrate, "record": record, "stop-recording": stop_recording}

with obsws_python.ReqClient(host="127.0.0.1", port=4455, password=PASSWORD, timeout=DEADLINE_S) as client:
    DOES[sys.argv[1]](client, *sys.argv[2:])
