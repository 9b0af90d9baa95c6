// Opens what htmx loads into #staff-dialog-body as a modal dialog. Without scripts the same links open full pages.
const dialogOf = () => document.getElementById("staff-dialog");
let dialogOpener = null;  // What had the focus when the dialog opened, and gets it back.
document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt, target } = event.detail;
    if (target?.id === "staff-dialog-body" && !dialogOf()?.contains(elt)) dialogOpener = elt;
});
const openDialog = () => {
    const dialog = dialogOf();
    if (!dialog || dialog.open) return;
    dialog.showModal();
    dialog.addEventListener("close", () => {
        if (isKeyShown()) return openDialog();  // Nothing but its own button closes a key that is shown once.
        document.getElementById("dialog-status").textContent = "";
        if (dialogOpener?.isConnected) dialogOpener.focus();
    }, { once: true });
};
// Says to screen readers what has come, and puts the focus where one goes on: never on a button that confirms.
const announce = (region, text) => {
    region.textContent = "";
    window.setTimeout(() => { region.textContent = text; }, 50);  // A text that is replaced at once is not said.
};
const enterDialog = () => {
    const dialog = dialogOf();
    const body = document.getElementById("staff-dialog-body");
    openDialog();
    announce(document.getElementById("dialog-status"), body.querySelector("[data-announce]")?.dataset.announce ?? "");
    const wrong = body.querySelector("[aria-invalid=true], .errors :is(input, select, textarea)");
    const field = body.querySelector(":is(input:not([type=hidden]), select, textarea)");
    (wrong ?? field ?? body.querySelector("#dialog-title") ?? dialog).focus();
    dialog.scrollTop = wrong ? dialog.scrollTop : 0;
};
document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "staff-dialog-body") enterDialog();
});
// Tab goes round inside of the dialog; the browser alone would leave it for its own buttons.
document.addEventListener("keydown", (event) => {
    const dialog = dialogOf();
    if (!dialog?.open) return;
    if (event.key === "Escape" && isKeyShown()) event.preventDefault();
    if (event.key !== "Tab") return;
    const all = "a[href], button, input:not([type=hidden]), select, textarea, [tabindex='0']";
    const places = [...dialog.querySelectorAll(all)].filter((one) => !one.matches(":disabled") && one.offsetParent);
    const [first, last] = [places.at(0), places.at(-1)];
    const active = document.activeElement;
    if (!first) return event.preventDefault();
    const leaves = !dialog.contains(active) || active === (event.shiftKey ? first : last)
        || (event.shiftKey && active.id === "dialog-title");
    if (!leaves) return;
    event.preventDefault();
    (event.shiftKey ? last : first).focus();
});

// On a phone not all tabs of an account fit: the chosen one is among those that do.
document.addEventListener("DOMContentLoaded", () => {
    const tabs = document.querySelector(".account-tabs");
    const chosen = tabs?.querySelector("[aria-current]");
    if (chosen) tabs.scrollLeft = chosen.offsetLeft - tabs.offsetLeft - (tabs.clientWidth - chosen.clientWidth) / 2;
});

// A key that is shown once is not lost by Escape, and leaving the page asks, until its button says that it was copied.
const isKeyShown = () => document.querySelector("[data-key-shown]") !== null;
document.addEventListener("cancel", (event) => { if (isKeyShown()) event.preventDefault(); }, true);
window.addEventListener("beforeunload", (event) => {
    if (!isKeyShown()) return;
    event.preventDefault();
    event.returnValue = "";  // What older browsers ask for.
});
document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-key-copied]")) return;
    document.querySelector("[data-key-shown]")?.removeAttribute("data-key-shown");
});

// Buttons that copy an id, and say so. Pages without HTTPS have no clipboard of their own: the older way works there.
const copyText = async (text) => {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        const box = document.createElement("textarea");
        const before = document.activeElement;
        box.value = text;
        box.className = "visually-hidden";
        (dialogOf()?.open ? dialogOf() : document.body).append(box);  // Outside of an open dialog nothing is selected.
        box.select();
        const isCopied = document.execCommand("copy");
        box.remove();
        before?.focus();
        return isCopied;
    }
};
const statusRegion = () => {
    if (dialogOf()?.open) return document.getElementById("dialog-status");
    let region = document.getElementById("page-status");
    if (!region) {
        region = document.createElement("p");
        region.id = "page-status";
        region.className = "visually-hidden";
        region.setAttribute("role", "status");
        document.body.append(region);
    }
    return region;
};
document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    event.preventDefault();
    const { copy, what } = button.dataset;
    const isCopied = await copyText(copy);
    const text = isCopied ? `Copied the ${what}` : `The ${what} could not be copied: select it instead`;
    const icon = button.querySelector(".material-symbols-outlined");
    icon.textContent = isCopied ? "check" : "error";
    button.dataset.told = text;
    announce(statusRegion(), what === "API key" ? text : `${text}: ${copy}`);
    window.setTimeout(() => {
        icon.textContent = "content_copy";
        delete button.dataset.told;
    }, 2500);
});

// What the server could not answer is said where the answer would stand, so that nothing looks as if it were done.
const failureText = (status, otherwise) => status === 403
    ? "This was refused: you lack the permission, or have logged in anew since."
    : status === 404 ? "This is not there any more." : otherwise;
const sayFailure = (event) => {
    const { target, xhr } = event.detail;
    const text = document.createElement("p");
    text.setAttribute("role", "alert");
    if (target.id !== "staff-dialog-body") {
        text.className = "action-error load-failure";
        text.textContent = failureText(xhr.status, "The server did not answer this. Try again, or load the page again.");
        if (!target.querySelector("table")) target.replaceChildren();  // It said that it was loading.
        target.querySelector(":scope > .load-failure")?.remove();
        target.prepend(text);
        return;
    }
    text.className = "action-error";
    text.textContent = failureText(
        xhr.status, "The server did not answer this. Look at the page again before you repeat it: it may have been done.",
    );
    const button = document.createElement("button");
    button.type = "button";
    button.className = "action-button";
    button.textContent = "Show the page again";
    button.addEventListener("click", () => window.location.reload());
    const title = document.createElement("h2");
    title.id = "dialog-title";
    title.tabIndex = -1;
    title.textContent = "Not answered";
    target.replaceChildren(title, text, button);
    enterDialog();
};
document.addEventListener("htmx:responseError", sayFailure);
document.addEventListener("htmx:sendError", sayFailure);
document.addEventListener("click", (event) => {
    const dialog = dialogOf();
    if (dialog?.open && event.target.closest("[data-close-dialog]")) {
        event.preventDefault();
        dialog.close();
    }
});

// A whole API key must not stand in an address, which browsers and proxies keep: send it as a form instead.
document.addEventListener("submit", (event) => {
    const box = event.target.querySelector("#searchbar");
    const key = box ? box.value.trim() : "";
    if (!key.startsWith("sk-") || key.length < 32 || key.includes("…")) return;
    event.preventDefault();
    const form = document.createElement("form");
    form.method = "post";
    form.action = "/admin/support/find-key/";
    const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
    for (const [name, value] of Object.entries({ csrfmiddlewaretoken: token, key })) {
        const input = document.createElement("input");
        input.type = "hidden";
        input.name = name;
        input.value = value;
        form.append(input);
    }
    document.body.append(form);
    form.submit();
});

// "/" and Ctrl+K go to the search box of the page. (Unfold's "/" goes to that of the list, and is kept from it.)
window.addEventListener("keydown", (event) => {
    const box = document.getElementById("search-everything");
    const { activeElement } = document;
    const isTyping = activeElement.matches("input, textarea, select") || activeElement.isContentEditable;
    const isSlash = event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey;
    const isCommand = event.key === "k" && (event.ctrlKey || event.metaKey);
    if (!box || !(isSlash || isCommand) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    event.stopPropagation();
    box.focus();
    box.select();
}, true);
