// The theme that was chosen, before the page is drawn; without a choice the browser's own.
"use strict";
try {
    const theme = localStorage.getItem("pgbatch-theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
    // A browser that keeps nothing has its own theme.
}
