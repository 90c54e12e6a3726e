#!/bin/sh
# Photographs the panel in a real Blender window on a display in memory (needs blender, Xvfb, ImageMagick).
#
#   CSD_ZIP=dist/csd_blender-0.1.0.zip CSD_BACKEND_PYTHON=.../python tools/in_blender/gui_photos.sh OUT_FOLDER
#
# Further variables: CSD_DATA_FOLDER, CSD_MESH (.obj), CSD_PROMPT, CSD_QUALITY, CSD_STEPS, CSD_SHADING, SIZE (1280x800);
# CSD_SUBJECT (character or object) photographs an object made from the prompt.
set -eu
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$1"
CSD_PHOTOS=$(readlink -f "$1")
CSD_ZIP=$(readlink -f "$CSD_ZIP")
export CSD_PHOTOS CSD_ZIP
profile=$(mktemp -d)
export CSD_DATA_FOLDER="${CSD_DATA_FOLDER:-$profile/data}" BLENDER_USER_RESOURCES="$profile" XDG_RUNTIME_DIR="$profile"
size=${SIZE:-1280x800}
export DISPLAY=:${DISPLAY_NUMBER:-97} LIBGL_ALWAYS_SOFTWARE=1
Xvfb "$DISPLAY" -screen 0 "${size}x24" -nolisten tcp >"$CSD_PHOTOS/xvfb.log" 2>&1 &
display=$!
trap 'kill $display 2>/dev/null; rm -rf "$profile"' EXIT
sleep 1
timeout -s KILL "${LIMIT:-600}" blender --factory-startup --gpu-backend opengl -p 0 0 "${size%x*}" "${size#*x}" \
    --python-exit-code 1 -P "$here/gui_photos.py" >"$CSD_PHOTOS/blender.log" 2>&1 || {
    tail -20 "$CSD_PHOTOS/blender.log"
    exit 1
}
cat "$CSD_PHOTOS/facts.json"
