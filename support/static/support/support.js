// Opens what htmx loads into #staff-dialog-body as a modal dialog. Without scripts the same links open full pages.
document.addEventListener("htmx:afterSwap", (event) => {
    const dialog = document.getElementById("staff-dialog");
    if (dialog && event.detail.target.id === "staff-dialog-body" && !dialog.open) dialog.showModal();
});
document.addEventListener("htmx:responseError", (event) => {
    const dialog = document.getElementById("staff-dialog-body");
    if (dialog && event.detail.target === dialog) window.location.reload();
});
document.addEventListener("click", (event) => {
    const dialog = document.getElementById("staff-dialog");
    if (dialog && event.target.closest("[data-close-dialog]")) {
        event.preventDefault();
        dialog.close();
    }
});
