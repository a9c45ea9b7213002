#!/usr/bin/env bash
# From nothing to a trained and tested DualFormer:
#   bash tools/quickstart.sh [--seed N]
# Sets up .venv, makes the built-in dataset Motion Digits, trains a pico DualFormer on it (one
# process: a GPU if there is one, else the CPU) and tests the best checkpoint. Safe to run again:
# what is done is reused, what was interrupted goes on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"

seed=0
if [ "${1:-}" = --seed ] && [[ "${2:-}" =~ ^[0-9]+$ ]] && [ $# -eq 2 ]; then
    seed=$2
elif [ $# -gt 0 ]; then
    echo "usage: bash tools/quickstart.sh [--seed N]" >&2
    exit 2
fi

config=configs/recognition/dualformer/dualformer_pico_motion_digits.py
data=data/motion_digits
work=work_dirs/quickstart
[ "$seed" -eq 0 ] || work=${work}_seed$seed
start=$SECONDS
# On a CPU one core trains and the others read clips: threads that wait for each other at every
# operation of so small a network only get into the way, above all on a busy machine.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

step() { echo; echo "== $* (after $((SECONDS - start)) s)"; }

step "1/4 set up"
set_up
unset VIRTUAL_ENV CONDA_PREFIX # the scripts below take the .venv that was just made

step "2/4 make Motion Digits"
"$python" tools/data/motion_digits/make_motion_digits.py --out "$data"
[ -f "$data/preview.png" ] ||
    "$python" tools/data/motion_digits/make_motion_digits.py --out "$data" --preview "$data/preview.png"

step "3/4 train"
recipe=$(cat "$config" configs/_base_/default_runtime.py | cksum)
if [ -f "$work/trained" ] && [ "$(cat "$work/trained")" = "$recipe" ]; then
    echo "$work holds a finished run of this config: not trained again (remove it to do so)"
else
    bash tools/dist_train.sh "$config" 1 --work-dir "$work" --seed "$seed" --resume \
        --cfg-options data_root="$data"
    echo "$recipe" >"$work/trained"
fi

step "4/4 test"
best=$(ls -t "$work"/best_*.pth | head -1)
bash tools/dist_test.sh "$config" "$best" 1 --work-dir "$work/test" \
    --eval top_k_accuracy mean_class_accuracy --cfg-options data_root="$data"

cat <<EOF

Done after $((SECONDS - start)) s. Top-1 accuracy $("$python" -c "
import json; print(format(json.load(open('$work/test/metrics.json'))['top1_acc'], '.4f'))") on clips of unseen digits (chance is 0.125).
  checkpoint  $best
  log         $(ls -t "$work"/*/*.log | head -1)
  metrics     $work/test/metrics.json
  pictures    $work/curve.png  (loss, learning rate, accuracy)
              $data/preview.png  (frames of each class)

What to run next:
  source .venv/bin/activate
  another seed             bash tools/quickstart.sh --seed 1
  your own clips           see "Fine-tune on your own clips" in README.md
  what a config says       less $config
EOF
