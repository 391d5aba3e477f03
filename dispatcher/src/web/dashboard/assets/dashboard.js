// What a page can do beyond being read: it stays up to date, and has keys. Without this file it is whole all the same.
"use strict";

const main = document.getElementById("main");
const bare = document.body.classList.contains("bare");
const byId = (id) => document.getElementById(id);
const clock = () => new Date().toTimeString().slice(0, 8);

// --- Live: told that something has changed, the page reads itself again and takes over what differs.

let source = null;
let reading = false;
let again = false;
let paused = false;

function tell(words, frozen) {
    const live = byId("live");
    // The same words again would be drawn again.
    if (live.textContent !== words) live.textContent = words;
    live.classList.toggle("frozen", frozen);
    live.hidden = false;
}

const frozen = (why) => tell(`frozen at ${clock()}: ${why}`, true);

async function read() {
    if (reading) {
        again = true;
        return;
    }
    reading = true;
    try {
        const answer = await fetch(location.href, { cache: "no-store", redirect: "error" });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("main");
        if (fresh && source) {
            Idiomorph.morph(main, fresh.innerHTML, { morphStyle: "innerHTML", ignoreActiveValue: true });
            document.title = page.title;
            dress();
            tell("live", false);
        }
    } catch {
        if (source) frozen("no answer");
    }
    reading = false;
    if (again) {
        again = false;
        read();
    }
}

function follow() {
    // A form that somebody fills in stays as it is.
    if (source || paused || document.hidden || main.querySelector("[data-still]")) return;
    source = new EventSource("/live");
    source.onopen = read;
    source.addEventListener("changed", read);
    // The browser tries again by itself, unless it was turned away: then a login is needed.
    source.onerror = () => {
        frozen(source.readyState === EventSource.CLOSED ? "reload the page" : "no answer");
    };
}

function unfollow(why) {
    if (source) source.close();
    source = null;
    frozen(why);
}

function pause() {
    paused = !paused;
    byId("pause").textContent = paused ? "Go on" : "Pause";
    if (paused) unfollow("paused");
    else follow();
}

// --- What only works with a script is shown by it.

function dress() {
    for (const button of document.querySelectorAll("button[hidden]")) button.hidden = false;
}

function theme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try {
        localStorage.setItem("pgbatch-theme", root.dataset.theme);
    } catch {
        // It holds for this page then.
    }
}

// Elsewhere than on this host or https a browser has no clipboard: the text is selected instead.
async function copy(button) {
    try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = "Copied";
    } catch {
        getSelection().selectAllChildren(button.parentElement.querySelector("code"));
    }
}

// --- Keys.

let went = false; // "g" was pressed last

const rows = () => [...main.querySelectorAll("[data-row]")].filter((row) => row.querySelector("a"));

function move(by) {
    const all = rows();
    const at = all.findIndex((row) => row.contains(document.activeElement));
    const to = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1)];
    if (to) to.querySelector("a").focus();
}

function key(event) {
    const typing = event.target.closest("input, select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || typing || byId("help").open) return;
    const goes = { n: "/", b: "/batches", t: "/triggers", a: "/activity" }[event.key];
    const follows = went;
    went = event.key === "g";
    if (follows && goes) location.assign(goes);
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "p") pause();
    else if (event.key === "?") byId("help").showModal();
    else if (event.key === "/") {
        event.preventDefault();
        if (byId("filter")) byId("filter").focus();
        else location.assign("/batches#filter");
    }
}

if (!bare) {
    dress();
    follow();
    document.addEventListener("visibilitychange", () => {
        if (document.hidden) unfollow("hidden");
        else follow();
    });
    document.addEventListener("keydown", key);
    byId("pause").addEventListener("click", pause);
    byId("theme").addEventListener("click", theme);
    byId("keys").addEventListener("click", () => byId("help").showModal());
    document.addEventListener("click", (event) => {
        const button = event.target.closest("button[data-copy]");
        if (button) copy(button);
        const cell = event.target.closest(".map [data-item]");
        if (cell) location.assign(`${location.pathname}/items/${cell.dataset.item}`);
    });
    if (location.hash === "#filter" && byId("filter")) byId("filter").focus();
}
