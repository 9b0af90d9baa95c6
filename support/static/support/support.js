// Opens what htmx loads into #staff-dialog-body as a modal dialog. Without scripts the same links open full pages.
document.addEventListener("htmx:afterSwap", (event) => {
    const dialog = document.getElementById("staff-dialog");
    if (dialog && event.detail.target.id === "staff-dialog-body" && !dialog.open) dialog.showModal();
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
    target.replaceChildren(text, button);
    const dialog = document.getElementById("staff-dialog");
    if (!dialog.open) dialog.showModal();
};
document.addEventListener("htmx:responseError", sayFailure);
document.addEventListener("htmx:sendError", sayFailure);
document.addEventListener("click", (event) => {
    const dialog = document.getElementById("staff-dialog");
    if (dialog && event.target.closest("[data-close-dialog]")) {
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
