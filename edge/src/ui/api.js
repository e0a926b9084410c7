"use strict";
// The node's API, and amounts as people read them.

const STORE = "larder-token";
let token = sessionStorage.getItem(STORE) || "";

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function api(path, body) {
  const headers = { Authorization: `Bearer ${token}` };
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method: body ? "POST" : "GET", headers, cache: "no-store", credentials: "omit",
      body: body && JSON.stringify(body), signal: AbortSignal.timeout(body ? 60000 : 10000),
    });
  } catch {
    throw new Refused(0, "No answer from the node: it has stopped, or cannot be reached from here. The figures below are old.");
  }
  const document = await answer.json().catch(() => null);
  if (answer.ok && document) return document;
  if (answer.status === 401) throw new Refused(401, "The node does not know this token.");
  if (document && document.title) throw new Refused(answer.status, `${document.title}: ${document.detail}`);
  throw new Refused(answer.status, `The node answered ${answer.status} to ${path}.`);
}

// What not every node has: null where there is none. A node that refuses once is not asked again.
const missing = new Set();
async function optional(path) {
  if (missing.has(path)) return null;
  try {
    return await api(path);
  } catch (error) {
    if (error.status === 403 || error.status === 404) missing.add(path);
    return null;
  }
}

const NONE = "–";

function scaled(number, step, units, space) {
  let unit = 0;
  while (number >= step * 0.9995 && unit + 1 < units.length) { number /= step; unit += 1; }
  const digits = unit === 0 ? 0 : number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
  return number.toFixed(digits) + space + units[unit];
}
function count(number) {
  if (number === null || number === undefined) return NONE;
  if (number < 9.95 && number % 1 > 0.04) return number.toFixed(1);
  if (number < 9999.5) return Math.round(number).toLocaleString("en");
  return scaled(number, 1000, ["", "k", "M", "G", "T"], "");
}
function bytes(number) {
  if (number === null || number === undefined) return NONE;
  return scaled(number, 1024, ["B", "KiB", "MiB", "GiB", "TiB"], " ");
}
function percent(part) {
  return part === null || part === undefined ? NONE : `${(part * 100).toFixed(1)} %`;
}
function millis(time) {
  if (time === null || time === undefined) return NONE;
  if (time < 10) return `${time.toFixed(2)} ms`;
  return time < 999.5 ? `${time.toFixed(0)} ms` : `${(time / 1000).toFixed(1)} s`;
}
function span(seconds) {
  const [d, h, m] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (d) return `${d}d ${h}h`;
  if (h) return `${h}h ${m}m`;
  return m ? `${m}m ${seconds % 60}s` : `${seconds}s`;
}

// An element. Texts become text and nothing else.
function make(name, attributes, ...inside) {
  const it = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "on") it.addEventListener("click", value);
    else if (value !== null && value !== undefined) it.setAttribute(key, value);
  }
  it.append(...inside.map((part) => (part instanceof Node ? part : String(part))));
  return it;
}
const by = (id) => document.getElementById(id);
