"""Takes the videos out of a report, as GIFs in the folders of their runs.

    python results/minatar_small/take_videos.py REPORT FOLDER

The study's videos are only in its report. FOLDER is a copy of the runs; so the report
can be made anew from it without losing them.
"""

from __future__ import annotations

import base64
import html
import io
import pathlib
import re
import sys

from PIL import Image, ImageSequence

VIDEO = re.compile(r'<img src="data:image/\w+;base64,([^"]+)" alt="([^"]+): ([^"]+)"')


def main(argv: list[str]) -> int:
    report, folder = map(pathlib.Path, argv)
    section = (
        report.read_text().split('<section id="videos">')[1].split("</section>")[0]
    )
    for content, run, name in VIDEO.findall(section):
        frames, durations = [], []
        with Image.open(io.BytesIO(base64.b64decode(content))) as video:
            loop = video.info.get("loop", 0)
            for frame in ImageSequence.Iterator(video):
                durations.append(frame.info.get("duration", 100))
                # Exact, as these have fewer than 256 colors.
                frame = frame.convert("RGB")
                frames.append(frame.quantize(dither=Image.Dither.NONE))
        place = folder.parent / html.unescape(run) / "videos" / f"{name}.gif"
        place.parent.mkdir(exist_ok=True)
        kept = {"append_images": frames[1:], "duration": durations, "loop": loop}
        frames[0].save(place, save_all=True, optimize=False, disposal=2, **kept)
        print(f"Saved {place}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
