/* SPDX-License-Identifier: Apache-2.0 */
/*
 * absent.c - stands in for the libraries that Debian's libcurl.a and libpq.a could use, and that
 * the Lambda's bootstrap does without: Kerberos, LDAP, SSH, RTMP, the public suffix list, names
 * outside ASCII, Brotli and Zstandard.  Debian has no static libraries of the first two.
 *
 * What can be reached fails as the library itself would, and its caller handles that: Kerberos when
 * a server or PGGSSENCMODE asks for it, LDAP when a service file does, an encoding when a server
 * uses one that nobody asked for, a name that is not ASCII.  Everything else needs one of those to
 * have worked, or a scheme that http_client.c does not allow: it stops the program, with its name.
 *
 * The linker names what is missing here after an update of Debian's.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { GSS_FAILURE = 13 << 16, IDN2_FAILURE = -100 };

#define FAILS(type, name, result)                                                                  \
    type name(void);                                                                               \
    type name(void)                                                                                \
    {                                                                                              \
        return result;                                                                             \
    }

/* ---- what can be reached ---- */

extern const void *const GSS_C_NT_HOSTBASED_SERVICE;
const void *const GSS_C_NT_HOSTBASED_SERVICE = NULL;

FAILS(uint32_t, gss_acquire_cred, GSS_FAILURE)
FAILS(uint32_t, gss_delete_sec_context, GSS_FAILURE)
FAILS(uint32_t, gss_display_name, GSS_FAILURE)
FAILS(uint32_t, gss_display_status, GSS_FAILURE)
FAILS(uint32_t, gss_import_name, GSS_FAILURE)
FAILS(uint32_t, gss_init_sec_context, GSS_FAILURE)
FAILS(uint32_t, gss_inquire_context, GSS_FAILURE)
FAILS(uint32_t, gss_release_buffer, GSS_FAILURE)
FAILS(uint32_t, gss_release_cred, GSS_FAILURE)
FAILS(uint32_t, gss_release_name, GSS_FAILURE)
FAILS(uint32_t, gss_unwrap, GSS_FAILURE)
FAILS(uint32_t, gss_wrap, GSS_FAILURE)
FAILS(uint32_t, gss_wrap_size_limit, GSS_FAILURE)

FAILS(void *, ldap_init, NULL)

FAILS(const char *, idn2_check_version, NULL)
FAILS(int, idn2_lookup_ul, IDN2_FAILURE)

FAILS(void *, BrotliDecoderCreateInstance, NULL)
FAILS(void *, ZSTD_createDStream, NULL)

/* libcurl begins and ends with them, whether there will be SSH or not. */
FAILS(int, libssh2_init, 0)
FAILS(int, libssh2_exit, 0)

/* ---- what cannot ---- */

static void stop(const char *name)
{
    fprintf(stderr, "switchboard: %s() is not in this build\n", name);
    abort();
}

#define ABSENT(name)                                                                               \
    void name(void);                                                                               \
    void name(void)                                                                                \
    {                                                                                              \
        stop(#name);                                                                               \
    }

/* libbrotlidec */
ABSENT(BrotliDecoderDecompressStream)
ABSENT(BrotliDecoderDestroyInstance)
ABSENT(BrotliDecoderGetErrorCode)
/* libzstd */
ABSENT(ZSTD_decompressStream)
ABSENT(ZSTD_freeDStream)
ABSENT(ZSTD_isError)
/* libidn2 */
ABSENT(idn2_free)
/* libpsl */
ABSENT(psl_builtin)
ABSENT(psl_free)
ABSENT(psl_is_cookie_domain_acceptable)
ABSENT(psl_latest)
/* librtmp */
ABSENT(RTMP_Alloc)
ABSENT(RTMP_Close)
ABSENT(RTMP_Connect1)
ABSENT(RTMP_ConnectStream)
ABSENT(RTMP_Free)
ABSENT(RTMP_Init)
ABSENT(RTMP_Read)
ABSENT(RTMP_SetBufferMS)
ABSENT(RTMP_SetupURL)
ABSENT(RTMP_Write)
/* libldap */
ABSENT(ber_bvfree)
ABSENT(ber_free)
ABSENT(ber_memfree)
ABSENT(ber_sockbuf_add_io)
ABSENT(ldap_abandon_ext)
ABSENT(ldap_count_entries)
ABSENT(ldap_err2string)
ABSENT(ldap_first_entry)
ABSENT(ldap_free_urldesc)
ABSENT(ldap_get_attribute_ber)
ABSENT(ldap_get_dn_ber)
ABSENT(ldap_get_option)
ABSENT(ldap_get_values_len)
ABSENT(ldap_init_fd)
ABSENT(ldap_memfree)
ABSENT(ldap_msgfree)
ABSENT(ldap_msgtype)
ABSENT(ldap_parse_result)
ABSENT(ldap_parse_sasl_bind_result)
ABSENT(ldap_pvt_url_scheme2proto)
ABSENT(ldap_result)
ABSENT(ldap_sasl_bind)
ABSENT(ldap_search_ext)
ABSENT(ldap_search_st)
ABSENT(ldap_set_option)
ABSENT(ldap_simple_bind)
ABSENT(ldap_start_tls)
ABSENT(ldap_unbind)
ABSENT(ldap_unbind_ext)
ABSENT(ldap_url_parse)
ABSENT(ldap_value_free_len)
/* libssh2 */
ABSENT(libssh2_agent_connect)
ABSENT(libssh2_agent_disconnect)
ABSENT(libssh2_agent_free)
ABSENT(libssh2_agent_get_identity)
ABSENT(libssh2_agent_init)
ABSENT(libssh2_agent_list_identities)
ABSENT(libssh2_agent_userauth)
ABSENT(libssh2_channel_free)
ABSENT(libssh2_channel_read_ex)
ABSENT(libssh2_channel_send_eof)
ABSENT(libssh2_channel_wait_closed)
ABSENT(libssh2_channel_wait_eof)
ABSENT(libssh2_channel_write_ex)
ABSENT(libssh2_hostkey_hash)
ABSENT(libssh2_knownhost_add)
ABSENT(libssh2_knownhost_checkp)
ABSENT(libssh2_knownhost_del)
ABSENT(libssh2_knownhost_free)
ABSENT(libssh2_knownhost_get)
ABSENT(libssh2_knownhost_init)
ABSENT(libssh2_knownhost_readfile)
ABSENT(libssh2_knownhost_writefile)
ABSENT(libssh2_scp_recv2)
ABSENT(libssh2_scp_send64)
ABSENT(libssh2_session_abstract)
ABSENT(libssh2_session_block_directions)
ABSENT(libssh2_session_callback_set)
ABSENT(libssh2_session_disconnect_ex)
ABSENT(libssh2_session_flag)
ABSENT(libssh2_session_free)
ABSENT(libssh2_session_handshake)
ABSENT(libssh2_session_hostkey)
ABSENT(libssh2_session_init_ex)
ABSENT(libssh2_session_last_errno)
ABSENT(libssh2_session_last_error)
ABSENT(libssh2_session_method_pref)
ABSENT(libssh2_session_set_blocking)
ABSENT(libssh2_sftp_close_handle)
ABSENT(libssh2_sftp_init)
ABSENT(libssh2_sftp_last_error)
ABSENT(libssh2_sftp_mkdir_ex)
ABSENT(libssh2_sftp_open_ex)
ABSENT(libssh2_sftp_read)
ABSENT(libssh2_sftp_readdir_ex)
ABSENT(libssh2_sftp_rename_ex)
ABSENT(libssh2_sftp_rmdir_ex)
ABSENT(libssh2_sftp_seek64)
ABSENT(libssh2_sftp_shutdown)
ABSENT(libssh2_sftp_stat_ex)
ABSENT(libssh2_sftp_statvfs)
ABSENT(libssh2_sftp_symlink_ex)
ABSENT(libssh2_sftp_unlink_ex)
ABSENT(libssh2_sftp_write)
ABSENT(libssh2_userauth_authenticated)
ABSENT(libssh2_userauth_keyboard_interactive_ex)
ABSENT(libssh2_userauth_list)
ABSENT(libssh2_userauth_password_ex)
ABSENT(libssh2_userauth_publickey_fromfile_ex)
ABSENT(libssh2_version)
