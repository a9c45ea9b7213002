'use strict';

const $ = (id) => document.getElementById(id);
const show = (id, yes) => { $(id).hidden = !yes; };
const state = { job: null, turn: 0, result: null, pictures: {}, frame: 0, map: 0, first: 0, playing: true };

function make(kind, text, parent) {
  const element = document.createElement(kind);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error || `The page's server answers ${response.status}.`);
  return body;
}

function load(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error('A picture of the result could not be loaded.'));
    image.src = url;
  });
}

// ---------------------------------------------------------------- uploading and waiting

function begin(name) {
  const turn = ++state.turn; // what was under way before no longer counts
  letGo();
  state.result = null;
  ['error', 'notice', 'scores', 'result', 'empty'].forEach((id) => show(id, false));
  show('working', true);
  report(0, `sending ${name}`);
  reveal('working');
  return turn;
}

function report(share, step) {
  $('progress').value = share;
  $('step').textContent = `${step} …`;
}

function fail(turn, error) {
  if (turn !== state.turn) return;
  show('working', false);
  show('empty', true);
  $('error').textContent = error.message;
  show('error', true);
  reveal('error');
}

// On a narrow page what is new lies below the fold.
function reveal(id) {
  $(id).scrollIntoView({ block: 'nearest' });
}

function letGo() {
  if (state.job) navigator.sendBeacon(`/api/jobs/${state.job}/drop`);
  state.job = null;
}

function send(file, turn) {
  // XMLHttpRequest, for fetch does not tell how much has been sent.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', `/api/jobs?name=${encodeURIComponent(file.name)}`);
    request.upload.onprogress = (event) => {
      if (turn === state.turn) report(0.03 * event.loaded / event.total, `sending ${file.name}`);
    };
    request.onload = () => resolve(new Response(request.response, { status: request.status }));
    request.onerror = () => reject(new Error('The connection to the server of this page is lost.'));
    request.send(file);
  });
}

async function work(name, start) {
  const turn = begin(name);
  try {
    const { id } = await answer(await start(turn));
    if (turn !== state.turn) { navigator.sendBeacon(`/api/jobs/${id}/drop`); return; }
    state.job = id;
    for (;;) {
      const job = await answer(await fetch(`/api/jobs/${id}`));
      if (turn !== state.turn) return;
      if (job.state === 'failed') throw new Error(job.error);
      if (job.state === 'done') { await present(turn, id, job); return; }
      report(job.progress, job.before ? `waiting for ${job.before} before` : job.step);
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
  } catch (error) { fail(turn, error); }
}

function upload(file) {
  if (file.size > state.info.megabytes * 1e6) {
    const turn = begin(file.name);
    fail(turn, new Error(`${file.name} is larger than the ${state.info.megabytes} MB that this page takes.`));
    return;
  }
  work(file.name, (turn) => send(file, turn));
}

function take([first, ...others]) {
  if (!first) return;
  upload(first);
  if (!others.length) return;
  const names = others.map((file) => file.name).join(', ');
  $('notice').textContent = `This page shows one video at a time: ${first.name}. Not taken: ${names}.`;
  show('notice', true);
}

// ---------------------------------------------------------------- the result

async function present(turn, id, job) {
  const result = job.result;
  const names = ['clip.jpg', ...result.maps.map((map) => map.file), ...(result.tokens ? ['tokens.png'] : [])];
  const pictures = {};
  await Promise.all(names.map(async (name) => { pictures[name] = await load(`/api/jobs/${id}/${name}`); }));
  if (turn !== state.turn) return;
  Object.assign(state, { result, pictures, frame: 0 });
  state.map = Math.min(state.first, Math.max(result.maps.length - 1, 0));
  state.first = 0;
  $('name').textContent = job.name;
  bars(result);
  tabs(result);
  legend(result.tokens);
  for (const canvas of ['plain', 'map', 'tokens']) {
    $(canvas).width = result.clip.width;
    $(canvas).height = result.clip.height;
  }
  $('frame').max = result.clip.frames - 1;
  thumbnails(result);
  show('working', false);
  show('scores', true);
  show('result', true);
  reveal('scores');
  draw();
  play(!matchMedia('(prefers-reduced-motion: reduce)').matches);
  document.body.dataset.ready = id;
}

function bars(result) {
  const list = $('top');
  list.replaceChildren();
  for (const { name, score } of result.top) {
    const item = make('li', undefined, list);
    const line = make('div', undefined, item);
    line.className = 'line';
    make('b', name, line);
    make('span', `${(100 * score).toFixed(1)} %`, line);
    const bar = make('div', undefined, item);
    bar.className = 'bar';
    make('i', undefined, bar).style.width = `${Math.max(100 * score, 0.5)}%`;
  }
  const parts = result.views === 1 ? 'one view' : `${result.views} views`;
  $('views').textContent = `Mean of ${parts} of the video. Saliency maps and tokens are of its middle clip.`;
}

function tabs(result) {
  const list = $('tabs');
  const some = result.maps.length > 0;
  list.replaceChildren();
  for (const id of ['tabs', 'map-video', 'opacity']) show(id, some);
  result.maps.forEach((map, index) => {
    const button = make('button', map.title, list);
    button.type = 'button';
    button.id = `tab-${index}`;
    button.setAttribute('role', 'tab');
    button.setAttribute('aria-controls', 'panel');
    button.onclick = () => choose(index);
  });
  if (some) $('panel').setAttribute('role', 'tabpanel');
  else for (const name of ['role', 'aria-labelledby']) $('panel').removeAttribute(name);
  choose(state.map);
}

function choose(chosen) {
  state.map = chosen;
  [...$('tabs').children].forEach((button, index) => {
    button.setAttribute('aria-selected', String(index === chosen));
    button.tabIndex = index === chosen ? 0 : -1;
    if (index === chosen) $('panel').setAttribute('aria-labelledby', button.id);
  });
  const map = state.result.maps[chosen] || { title: '', text: `No saliency map: ${state.result.no_maps}` };
  $('map-name').textContent = map.title;
  $('map').setAttribute('aria-label', `${map.title} over the clip`);
  $('map-text').textContent = map.text;
  draw();
}

// The keys of the tabs pattern (WAI-ARIA): arrows go round, Home and End to the ends.
$('tabs').onkeydown = (event) => {
  const count = state.result.maps.length;
  const next = {
    ArrowRight: (state.map + 1) % count,
    ArrowLeft: (state.map + count - 1) % count,
    Home: 0,
    End: count - 1,
  }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  choose(next);
  $('tabs').children[next].focus();
};

function legend(tokens) {
  show('token-card', Boolean(tokens));
  const list = $('legend');
  list.replaceChildren();
  for (const { color, text } of tokens ? tokens.legend : []) {
    const item = make('li', undefined, list);
    make('i', undefined, item).style.background = color;
    make('span', text, item);
  }
}

function thumbnails(result) {
  const { clip, video } = result;
  const list = $('frames');
  list.replaceChildren();
  $('seen').textContent = `${clip.frames} frames of ${clip.seen} pixels, from a video of `
    + `${video.width} x ${video.height} pixels and ${video.seconds.toFixed(1)} s.`;
  for (let index = 0; index < clip.frames; index++) {
    const button = make('button', undefined, list);
    button.type = 'button';
    const canvas = make('canvas', undefined, button);
    const scale = 160 / clip.width;
    canvas.width = 160;
    canvas.height = Math.round(clip.height * scale);
    canvas.setAttribute('aria-hidden', 'true');
    piece(canvas, state.pictures['clip.jpg'], index);
    make('span', when(index), button);
    button.setAttribute('aria-label', `Show the frame at ${when(index)}`);
    button.onclick = () => { play(false); state.frame = index; draw(); };
  }
}

function when(index) {
  const { numbers, fps } = state.result.clip;
  return `${(numbers[index] / fps).toFixed(2)} s`;
}

// Frame `index` of a sprite onto a canvas.
function piece(canvas, picture, index, alpha = 1) {
  const { width, height, columns } = state.result.clip;
  const context = canvas.getContext('2d');
  context.globalAlpha = alpha;
  context.drawImage(
    picture, (index % columns) * width, Math.floor(index / columns) * height, width, height,
    0, 0, canvas.width, canvas.height,
  );
  context.globalAlpha = 1;
}

function draw() {
  const { result, pictures, frame } = state;
  if (!result) return;
  piece($('plain'), pictures['clip.jpg'], frame);
  if (result.maps.length) {
    piece($('map'), pictures['clip.jpg'], frame);
    piece($('map'), pictures[result.maps[state.map].file], frame, Number($('alpha').value));
  }
  if (result.tokens) {
    const { steps, rows, columns } = result.tokens;
    const canvas = $('tokens');
    const context = canvas.getContext('2d');
    const step = Math.floor((frame * steps) / result.clip.frames);
    context.filter = 'grayscale(1)';
    piece(canvas, pictures['clip.jpg'], frame);
    context.filter = 'none';
    context.imageSmoothingEnabled = false;
    context.globalAlpha = 0.75;
    context.drawImage(pictures['tokens.png'], 0, step * rows, columns, rows, 0, 0, canvas.width, canvas.height);
    context.globalAlpha = 1;
    context.imageSmoothingEnabled = true;
  }
  $('frame').value = frame;
  $('frame').setAttribute('aria-valuetext', `${frame + 1} of ${result.clip.frames}`);
  $('number').textContent = `${frame + 1} of ${result.clip.frames}, ${when(frame)}`;
  [...$('frames').children].forEach((button, index) => {
    button.className = index === frame ? 'now' : '';
    button.setAttribute('aria-current', String(index === frame));
  });
}

let ticking;
function play(yes) {
  state.playing = yes;
  $('play').textContent = yes ? 'Pause' : 'Play';
  clearInterval(ticking);
  if (!yes || !state.result) return;
  const pace = Math.max(1500 / state.result.clip.frames, 60);
  ticking = setInterval(() => {
    if (!state.result) return;
    state.frame = (state.frame + 1) % state.result.clip.frames;
    draw();
  }, pace);
}

// ---------------------------------------------------------------- controls

$('file').onchange = () => {
  const files = [...$('file').files];
  $('file').value = '';
  take(files);
};
for (const kind of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $('drop').classList.toggle('over', kind === 'dragover');
    if (kind === 'drop') take([...event.dataTransfer.files]);
  });
}
$('play').onclick = () => play(!state.playing);
$('frame').oninput = () => { play(false); state.frame = Number($('frame').value); draw(); };
$('alpha').oninput = draw;
window.addEventListener('pagehide', letGo);

(async () => {
  try {
    const info = await answer(await fetch('/api/info'));
    state.info = info;
    $('model').textContent = info.title;
    $('limits').textContent = `up to ${info.megabytes} MB and ${info.seconds} seconds`;
    show('picks', info.examples.length > 0);
    info.examples.forEach((name, number) => {
      const button = make('button', undefined, $('examples'));
      button.type = 'button';
      const image = make('img', undefined, button);
      image.src = `/api/examples/${number}`;
      image.alt = '';
      make('span', name, button);
      button.onclick = () => work(name, () => fetch(`/api/examples/${number}`, { method: 'POST' }));
    });
    // '#example-3' in the address shows the third one at once, '#example-3-2' its second map.
    const asked = /^#example-(\d+)(?:-(\d+))?$/.exec(location.hash);
    if (asked) {
      state.first = (asked[2] || 1) - 1;
      $('examples').children[asked[1] - 1]?.click();
    }
    document.body.dataset.loaded = 'yes';
  } catch (error) { fail(state.turn, error); }
})();
